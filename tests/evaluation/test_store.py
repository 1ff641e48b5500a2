"""Rows on disk: kept, found again, all or nothing."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.evaluation.maps import MapFolder
from maskwise.evaluation.store import Rows, key_of


class TestRows:
    def test_what_was_written_is_read_again(self, tmp_path: Path) -> None:
        facts = {"method": "grad_cam", "options": {"layer": None}}
        with Rows(tmp_path) as rows:
            run = rows.run(facts)
            rows.write(run, [("le", "a", torch.tensor([1.0])), ("pxap", "a", torch.arange(4.0))])
            rows.write(run, [("le", "b", torch.zeros(0))])
        with Rows(tmp_path) as rows:
            assert rows.run(dict(facts)) == run
            assert rows.known(run, "le") == {"a", "b"} and rows.known(run, "pxap") == {"a"}
            read = rows.read(run, "le", ["b", "a", "c"])
            assert read.shape == (3, 1) and read[1].item() == 1 and read[[0, 2]].isnan().all()
            assert rows.read(run, "pxap", ["a", "b"])[0].tolist() == [0, 1, 2, 3]

    def test_other_settings_are_another_run(self) -> None:
        assert key_of({"a": 1}) != key_of({"a": 2}) and key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})

    def test_half_a_transaction_is_none(self, tmp_path: Path) -> None:
        def broken() -> Iterator[tuple[str, str, Tensor]]:
            yield "le", "a", torch.ones(1)
            raise RuntimeError("killed")

        with Rows(tmp_path) as rows, pytest.raises(RuntimeError):
            rows.write(rows.run({}), broken())
        with Rows(tmp_path) as rows:
            assert rows.known(rows.run({}), "le") == set()

    def test_rows_of_several_lengths_are_refused_and_none_is_left_out(self, tmp_path: Path) -> None:
        """Curves by a step in pixels are as long as the picture is large; shorter ones once counted as unknown."""
        with Rows(tmp_path) as rows:
            rows.write("r", [("Deletion:1", "a", torch.ones(9)), ("Deletion:1", "b", torch.zeros(0))])
            with pytest.raises(InputError, match=r"Deletion: pictures of different sizes .* step=3.571%"):
                rows.write("r", [("Deletion:1", "c", torch.ones(8))])
            assert rows.known("r", "Deletion:1") == {"a", "b"}
            rows.write("other", [("Deletion:1", "a", torch.ones(8))])
        with Rows(tmp_path) as rows:
            rows.write("r", [("Deletion:1", "d", torch.ones(7))])
            with pytest.raises(InputError, match="different lengths"):
                rows.read("r", "Deletion:1", ["a", "d"])

    @given(arrays(np.float64, st.integers(0, 300), elements=st.floats(width=64)))
    def test_every_bit_comes_back(self, row: np.ndarray) -> None:
        with Rows() as rows:
            rows.write("r", [("m", "a", torch.from_numpy(row))])
            found = rows.read("r", "m", ["a"])[0].numpy()
        if len(row):
            assert found.tobytes() == row.tobytes()
        else:
            assert np.isnan(found).all()

    def test_a_row_of_zeros_is_small(self, tmp_path: Path) -> None:
        """The pointing game's: a hit and a try of one class of a thousand."""
        row = torch.zeros(2002)
        row[[7, 1008]] = 1
        with Rows(tmp_path) as rows:
            rows.write("r", [("pointing", f"picture {i}", row) for i in range(500)])
        assert (tmp_path / "rows.db").stat().st_size < 200 * 500

    def test_a_file_of_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "rows.db").write_bytes(b"this is no data base" * 100)
        with pytest.raises(InputError, match=r"rows\.db"):
            Rows(tmp_path)
        assert (tmp_path / "rows.db").read_bytes().startswith(b"this is no")


class TestMaps:
    def test_exact_and_by_run(self, tmp_path: Path) -> None:
        folder, saliency = MapFolder(tmp_path), torch.rand(5, 7)
        folder.write("r", "train/a.jpg#1", saliency)
        found = folder.read("r", "train/a.jpg#1")
        assert found is not None and torch.equal(found, saliency)
        assert folder.read("other", "train/a.jpg#1") is None and folder.read("r", "b") is None

    def test_a_damaged_file_is_no_map(self, tmp_path: Path) -> None:
        folder = MapFolder(tmp_path)
        folder.write("r", "a", torch.rand(3, 3))
        [file] = (tmp_path / "r").iterdir()
        file.write_bytes(file.read_bytes()[:40])
        assert folder.read("r", "a") is None

    def test_without_a_folder_nothing_is_kept(self) -> None:
        MapFolder(None).write("r", "a", torch.rand(3, 3))
        assert MapFolder(None).read("r", "a") is None
