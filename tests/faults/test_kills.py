"""SIGKILL for real, at random moments: what is resumed equals what was never killed, and no half of a file is seen.

``scripts/kill_trials.py`` runs more of the same trials and prints what they survived.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faults.killable import check_files, evaluation, log_of, same, study, survive, training

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")


def killed(work: Callable[[Path], Any], folder: Path) -> Path:
    """Where ``work`` was killed at least once and then done; the moments come earlier until one is early enough."""
    began = time.monotonic()
    survive(work, folder / "straight", random.Random(), 0, most=0)
    longest = time.monotonic() - began
    for trial in range(12):
        out = folder / str(trial)
        if survive(work, out, random.Random(trial), longest / 2**trial, most=4).kills:
            return out
    pytest.fail(f"{work.__name__} was always done before the kill")


def test_training(tmp_path: Path) -> None:
    out, straight = killed(training, tmp_path), tmp_path / "straight"
    assert (out / "masker.safetensors").read_bytes() == (straight / "masker.safetensors").read_bytes()
    assert log_of(out) == log_of(straight)
    assert not list(out.glob(".*")), "leftovers of killed processes are gone"


@pytest.mark.parametrize("work", [evaluation, study])
def test_measuring(work: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    out = killed(work, tmp_path)
    assert same(work(out), work(tmp_path / "straight"))


def test_a_half_written_file_would_be_seen(tmp_path: Path) -> None:
    """The check itself: it must fail for files cut in half."""
    training(tmp_path)
    assert check_files(tmp_path) == 8
    for name in (
        "checkpoint.pt", "snapshots/step-00000000.pt", "masker.safetensors", "log.jsonl", "index.html",
        "looks/000024.jpg",
    ):  # fmt: skip
        path = tmp_path / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + (b"\n" * 3 if name == "log.jsonl" else b""))
        wrong = {"index.html": AssertionError, "looks/000024.jpg": OSError}.get(name, (ValueError, IndexError))
        with pytest.raises(wrong):
            check_files(tmp_path)
        path.write_bytes(whole)
