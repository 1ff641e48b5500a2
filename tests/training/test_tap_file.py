"""The file of taps: rows come back as they were, are made once, and a writing that was killed goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.training.tap_file import TapFile, write_taps

WIDTH = 6


def key(number: int) -> str:
    return f"{number:032x}"


class Seen:
    """Rows that say which place they are of; remembers what it was asked, and may die on the way."""

    def __init__(self, offset: int = 0, dies_after: int = 10**9) -> None:
        self.offset, self.dies_after, self.asked = offset, dies_after, list[int]()

    def __call__(self, places: Sequence[int]) -> Tensor:
        if len(self.asked) >= self.dies_after:
            raise KeyboardInterrupt
        self.asked += places
        return torch.stack([torch.arange(WIDTH) + 10.0 * (place + self.offset) + 0.0001 for place in places])


def row(number: int) -> Tensor:
    return (torch.arange(WIDTH) + 10.0 * number + 0.0001).half()


def test_rows_come_back(tmp_path: Path) -> None:
    seen, counts = Seen(), list[int]()
    file = write_taps(tmp_path / "taps.npy", [key(k) for k in range(7)], WIDTH, seen, 3, counts.append)
    assert seen.asked == list(range(7)) and counts == [0, 3, 6, 7]
    for k in (6, 0, 3):
        assert torch.equal(file.row(key(k)), row(k)) and file.row(key(k)).dtype == torch.float16
    assert [p.name for p in tmp_path.iterdir()] == ["taps.npy"]


def test_a_row_that_is_there_is_not_made_again(tmp_path: Path) -> None:
    path = tmp_path / "taps.npy"
    write_taps(path, [key(k) for k in range(5)], WIDTH, Seen(), 2)
    some, more = Seen(), Seen(3)
    write_taps(path, [key(k) for k in (4, 1)], WIDTH, some)
    assert some.asked == [] and len(TapFile(path, WIDTH).records) == 5
    file = write_taps(path, [key(k) for k in (3, 4, 5, 6, 5)], WIDTH, more)  # one comes twice
    assert more.asked == [2, 3], "only those two are new"
    assert all(torch.equal(file.row(key(k)), row(k)) for k in (3, 4, 5, 6)) and len(file.records) == 4


@pytest.mark.parametrize("cut", [0, 7, 40])
def test_a_writing_that_was_killed_goes_on(tmp_path: Path, cut: int) -> None:
    """Even if its last row was cut off within."""
    path, keys = tmp_path / "taps.npy", [key(k) for k in range(9)]
    with pytest.raises(KeyboardInterrupt):
        write_taps(path, keys, WIDTH, Seen(dies_after=6), 2)
    assert not path.exists()
    part = tmp_path / "taps.npy.part"
    part.write_bytes(part.read_bytes()[: len(part.read_bytes()) - cut])
    again = Seen()
    file = write_taps(path, keys, WIDTH, again, 2)
    assert again.asked == list(range(6 - (cut > 0), 9))
    assert all(torch.equal(file.row(key(k)), row(k)) for k in range(9)) and not part.exists()


def test_a_writing_of_other_pictures_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "taps.npy"
    with pytest.raises(KeyboardInterrupt):
        write_taps(path, [key(k) for k in range(9)], WIDTH, Seen(dies_after=6), 2)
    other = Seen(1)
    file = write_taps(path, [key(k) for k in range(1, 10)], WIDTH, other, 4)
    assert other.asked == list(range(9)) and torch.equal(file.row(key(9)), row(9))


def test_files_that_are_something_else(tmp_path: Path) -> None:
    path = tmp_path / "taps.npy"
    path.write_bytes(b"no taps")
    with pytest.raises(InputError, match="delete it"):
        write_taps(path, [key(0)], WIDTH, Seen())
    path.unlink()
    write_taps(path, [key(0)], WIDTH, Seen())
    with pytest.raises(InputError, match="other layers or sizes"):
        TapFile(path, WIDTH + 1)
