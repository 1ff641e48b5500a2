"""Warnings of another library are silenced by threads that overlap, and nobody else's are."""

from __future__ import annotations

import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maskwise.core.alike import count_alike
from maskwise.core.errors import InputError
from maskwise.core.quiet import Quiet
from maskwise.images import load_image


def theirs() -> None:
    warnings.warn_explicit("theirs", UserWarning, "x.py", 1, module="other.part", registry={})


def ours() -> None:
    warnings.warn_explicit("ours", UserWarning, "y.py", 1, module="maskwise.x", registry={})


def test_overlapping_blocks_leave_the_filters_as_they_were() -> None:
    """The first block ends within the second, as two threads' may."""
    quiet, before = Quiet("other"), list(warnings.filters)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        inside = list(warnings.filters)
        first, second = quiet.here(), quiet.here()
        first.__enter__()
        second.__enter__()
        theirs(), ours()
        first.__exit__(None, None, None)
        theirs(), ours()
        second.__exit__(None, None, None)
        assert list(warnings.filters) == inside
        theirs()
    assert [str(w.message) for w in told] == ["ours", "ours", "theirs"] and list(warnings.filters) == before


def test_an_error_within_ends_the_silence() -> None:
    quiet, before = Quiet("other"), list(warnings.filters)
    with pytest.raises(InputError), quiet.here():
        raise InputError("x")
    assert list(warnings.filters) == before


def test_pictures_read_by_threads(tmp_path: Path) -> None:
    """Damaged, dim and whole ones at once: the filters stay, Pillow says nothing, and the first dim one is said."""
    draws = np.random.default_rng(0)
    for i in range(60):
        path = tmp_path / f"{i:02}.png"
        if i % 3 == 0:
            Image.fromarray(np.full((40, 50), 4000, np.uint16)).save(path)
            continue
        Image.fromarray(draws.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(path)
        if i % 3 == 1:
            path.write_bytes(path.read_bytes()[:-60])

    def read(i: int) -> bool:
        try:
            load_image(tmp_path / f"{i:02}.png")
        except InputError:
            return False
        return True

    count_alike()
    before = list(warnings.filters)
    for _ in range(5):
        with ThreadPoolExecutor(8) as pool:
            assert list(pool.map(read, range(60))) == [i % 3 != 1 for i in range(60)]
        assert list(warnings.filters) == before
    assert count_alike()[0].startswith("20 pictures use less than a tenth")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_fork_in_the_middle_begins_anew() -> None:
    """A child that was made while a thread was reading would wait for that thread for ever."""
    quiet = Quiet("other")
    inside = quiet.here()
    inside.__enter__()
    quiet._lock.acquire()
    child = os.fork()
    if not child:
        with quiet.here():
            os._exit(0 if quiet._within == 1 else 1)
    quiet._lock.release()
    inside.__exit__(None, None, None)
    assert os.waitpid(child, 0)[1] == 0
