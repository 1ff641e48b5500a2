"""Pictures that can't be read, sorted out before a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conftest import cut_off

from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.data import damaged as module
from maskwise.data.damaged import name_among, readable, without_damaged
from maskwise.data.pack import pack

CUT = ("03.png", "04.png", "19.png")


@pytest.fixture
def data(picture_folder: Path, monkeypatch: pytest.MonkeyPatch) -> DataSet:
    """Twenty pictures, of which three are cut; they are tried seven at once."""
    monkeypatch.setattr(module, "AT_ONCE", 7)
    return read_data(cut_off(picture_folder, CUT))


def test_the_others_are_left_in_their_order(data: DataSet) -> None:
    left, wrong = without_damaged(data)
    assert tuple(wrong) == CUT and all(f"{name}: the picture is damaged" in why for name, why in wrong.items())
    assert [record.id for record in left.records] == [r.id for r in data.records if r.id not in CUT]
    assert without_damaged(left) == (left, {})


def test_truth_that_does_not_fit_counts_where_it_is_needed(data: DataSet) -> None:
    records = [replace(r, boxes=((1, 2, 300, 400),)) if r.id == "07.png" else r for r in data.records]
    bad = replace(data, records=records)
    assert "07.png" in without_damaged(bad)[1] and "07.png" not in without_damaged(bad, truth=False)[1]


def test_one_warning_counts_them_and_nothing_left_is_an_error(data: DataSet) -> None:
    with pytest.warns(UserWarning, match=r"set: 3 pictures could not be read and were passed over: 03\.png") as told:
        readable(data)
    assert len(told) == 1
    with pytest.raises(InputError, match=r"none of its pictures can be read; 2 pictures"):
        readable(data.subset([3, 4]))


def test_names_of_several_sets_differ(data: DataSet) -> None:
    one, other = data.subset([0]), replace(data.subset([0]), name="other")
    assert name_among([one], one, one.records[0]) == "00.png"
    assert len({name_among([one, other], d, d.records[0]) for d in (one, other)}) == 2


def test_packing_refuses_a_damaged_picture_by_its_name(data: DataSet, picture_folder: Path, tmp_path: Path) -> None:
    """Mended, the pictures are others than those that the shards of before are of."""
    with pytest.raises(InputError, match=r"03\.png: the picture is damaged"):
        pack(data, tmp_path / "s", count=2)
    for name in CUT:
        (picture_folder / "images" / name).write_bytes((picture_folder / "images" / "00.png").read_bytes())
    with pytest.raises(InputError, match=r"other data .*pictures, truth or classes differ.*name another `out`"):
        pack(data, tmp_path / "s", count=2)
    assert pack(data, tmp_path / "another", count=2).pictures == 20
