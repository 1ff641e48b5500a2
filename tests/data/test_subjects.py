"""Whose pictures they are: read, packed, split, and what is said of what is missing."""

import warnings
from pathlib import Path
from zipfile import ZipFile

import pytest
import torch
from data.making import picture, text

from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.data.pack import pack
from maskwise.data.subjects import numbers_of, subject_numbers, whole_subjects


def clinic(folder: Path, *rows: str, pictures: int = 6) -> Path:
    for i in range(pictures):
        picture(folder / "images" / "ab"[i % 2] / f"{i}.png", value=40 + i)
    text(folder / "subjects.csv", "file,subject", *rows)
    return folder


def whose(source: str | Path) -> dict[str, str | None]:
    return {record.id: record.subject for record in read_data(source).records}


def test_a_folder_with_its_subjects(tmp_path: Path) -> None:
    rows = ["a/0.png,P1", "b/1.png,P1", "a/2.png,P2", "b/3.png,P3", "a/4.png,P3", "b/5.png,P3"]
    home = clinic(tmp_path, *rows)
    wanted = {row.split(",")[0]: row.split(",")[1] for row in rows}
    assert whose(home) == wanted == whose(f"{home}@labels=own")
    numbers = subject_numbers([read_data(home)])
    assert numbers is not None and numbers.tolist() == [0, 1, 2, 0, 2, 2], "sorted by name: a/0, a/2, a/4, b/1, …"
    assert subject_numbers([read_data("shapes:n=3")]) is None
    assert numbers_of([None, "x", None, "x"]).tolist() == [0, 1, 2, 1]  # type: ignore[union-attr]
    twice = subject_numbers([read_data(home), read_data(home)])
    assert twice is not None and twice.tolist() == [0, 1, 2, 0, 2, 2] * 2, "one subject in two sets is one"


def test_a_zip_and_each_of_its_splits(tmp_path: Path) -> None:
    home = tmp_path / "top"
    for i in range(4):
        picture(home / f"{i}.png")
    text(home / "images.csv", "file,split", "0.png,train", "1.png,train", "2.png,test", "3.png,test")
    text(home / "subjects.csv", "file;subject", "0.png;7", "1.png;7", "2.png;8", "3.png;9")
    with ZipFile(tmp_path / "x.zip", "w") as packed:
        for file in home.iterdir():
            packed.write(file, f"top/{file.name}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of a split the table lists more pictures, and that is no fault
        assert whose(f"{tmp_path / 'x.zip'}@test") == {"2.png": "8", "3.png": "9"}
        assert set(whose(tmp_path / "x.zip").values()) == {"7", "8", "9"}


def test_what_is_missing_or_fits_no_picture_is_said(tmp_path: Path) -> None:
    home = clinic(tmp_path, "a/0.png,P1", "a/2.png,P1", "b/9.png,P2", "b/1.png,")
    with pytest.warns(UserWarning) as said:
        found = whose(home)
    lines = [str(one.message) for one in said]
    assert any("1 of 4 names" in line and "b/9.png" in line for line in lines), lines
    assert any("names no subject of 4 of 6 pictures (a/4.png, b/1.png, b/3.png and 1 more)" in line for line in lines)
    assert found["a/0.png"] == "P1" and found["b/1.png"] is None


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (["a/0.png,P1", "a/0.png,P2"], "two subjects, P1 and P2"),
        (["x.png,P1"], "no picture of"),
    ],
)
def test_what_contradicts_itself_or_fits_nothing_is_refused(tmp_path: Path, rows: list[str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_data(clinic(tmp_path, *rows))


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:
    home = clinic(tmp_path)
    text(home / "subjects.csv", "file,patient_id", "a/0.png,P1")
    with pytest.raises(InputError, match=r"subjects\.csv: needs the columns file, subject; it has file, patient_id"):
        read_data(home)


def test_shards_keep_them(tmp_path: Path) -> None:
    rows = ["a/0.png,P1", "b/1.png,P1", "a/2.png,P2", "b/3.png,P3", "a/4.png,P3", "b/5.png,ü 3"]
    home = clinic(tmp_path / "home", *rows)
    pack(read_data(home), tmp_path / "packed")
    assert whose(tmp_path / "packed") == whose(home)
    [tar] = (tmp_path / "packed").glob("*.tar")
    bare = tmp_path / "bare-0.tar"
    bare.write_bytes(tar.read_bytes())  # without an index, which is made of the tar itself
    assert whose(tmp_path / "bare-{0..0}.tar") == whose(home)


@pytest.mark.parametrize("seed", range(30))
def test_drawn_pictures_are_whole_subjects_of_about_the_number_asked_for(seed: int) -> None:
    draws = torch.Generator().manual_seed(seed)
    groups = torch.randint(12, (100,), generator=draws).unique(return_inverse=True)[1]
    labels = torch.randint(2, (100,), generator=draws)
    wanted = torch.tensor([10, 10])
    drawn = whole_subjects(groups, labels, wanted, draws)
    for group in groups.unique():
        assert drawn[groups == group].all() or not drawn[groups == group].any()
    kept = labels[drawn].bincount(minlength=2)
    assert (kept > 0).all() and (kept <= 10).all(), "a subject here has some four pictures of each"


def test_of_single_pictures_as_many_are_drawn_as_asked_for() -> None:
    drawn = whole_subjects(torch.arange(50), torch.zeros(50).long(), torch.tensor([5]), torch.Generator())
    assert int(drawn.sum()) == 5


def test_where_no_subject_fits_the_smallest_is_drawn_and_one_is_left() -> None:
    groups = torch.tensor([0] * 40 + [1] * 7 + [2] * 20)
    drawn = whole_subjects(groups, torch.zeros_like(groups), torch.tensor([3]), torch.Generator())
    assert groups[drawn].unique().tolist() == [1]
    all_of_them = whole_subjects(groups, torch.zeros_like(groups), torch.tensor([len(groups)]), torch.Generator())
    assert len(groups[~all_of_them].unique()) == 1, "one is left to train on, however many are asked for"
    alone = torch.zeros(9, dtype=torch.int64)
    assert not whole_subjects(alone, alone, torch.tensor([2]), torch.Generator()).any()
