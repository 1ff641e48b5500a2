"""SIGKILL for real, at random moments: what is resumed equals what was never killed, and no half of a file is seen.

``scripts/kill_trials.py`` runs more of the same trials and prints what they survived.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

import pytest
from faults.killable import check_files, evaluation, log_of, same, study, survive, training

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has no SIGKILL")


def test_training(tmp_path: Path) -> None:
    began = time.monotonic()
    training(tmp_path / "straight")
    longest = time.monotonic() - began
    kills = 0
    for trial in range(2):
        out = tmp_path / str(trial)
        kills += survive(training, out, random.Random(trial), longest, most=4).kills
        assert (out / "masker.safetensors").read_bytes() == (tmp_path / "straight" / "masker.safetensors").read_bytes()
        assert log_of(out) == log_of(tmp_path / "straight")
        assert not list(out.glob(".*")), "leftovers of killed processes are gone"
    assert kills > 0


@pytest.mark.parametrize("work", [evaluation, study])
def test_measuring(work, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    began = time.monotonic()
    straight = work(tmp_path / "straight")
    longest = time.monotonic() - began
    survived = survive(work, tmp_path / "killed", random.Random(1), longest, most=4)
    assert survived.kills > 0 and survived.files > 0
    assert same(work(tmp_path / "killed"), straight)


def test_a_half_written_file_would_be_seen(tmp_path: Path) -> None:
    """The check itself: it must fail for files cut in half."""
    training(tmp_path)
    assert check_files(tmp_path) == 4
    for name in ("checkpoint.pt", "masker.safetensors", "log.jsonl"):
        path = tmp_path / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2] + (b"\n" * 3 if name == "log.jsonl" else b""))
        with pytest.raises((ValueError, IndexError)):
            check_files(tmp_path)
        path.write_bytes(whole)
