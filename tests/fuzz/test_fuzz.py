"""Two thousand bad inputs, always the same ones; ``scripts/fuzz.py`` asks for as many as one likes."""

from __future__ import annotations

import logging
import mmap
import time
import warnings
from pathlib import Path

import pytest
from fuzz.harness import Row, Target, run
from fuzz.targets import TARGETS, counts

from maskwise.core.errors import InputError

INPUTS = 2000
COUNTS = counts(INPUTS)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_refused_in_one_line(name: str, tmp_path: Path) -> None:
    logging.disable()
    try:
        row = run(TARGETS[name], COUNTS[name], 0, tmp_path, tmp_path / "failures")
    finally:
        logging.disable(logging.NOTSET)
    assert row.inputs == COUNTS[name] >= 5 and not row.failures, "\n".join(row.failures)
    assert row.refused, "no input was bad: the fuzzing tests nothing"


def test_the_inputs_are_the_same_each_time(tmp_path: Path) -> None:
    from random import Random

    for target in TARGETS.values():
        assert target.make(Random("0/x/1")) == target.make(Random("0/x/1"))
    assert sum(COUNTS.values()) == INPUTS


def _row(read: object, tmp_path: Path) -> Row:
    return run(Target("x", 1.0, lambda random: random.randbytes(8), read), 2, 0, tmp_path, tmp_path / "kept")  # type: ignore[arg-type]


def test_the_harness_notices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash, an empty refusal, a hang in Python, memory: none of them passes."""
    calls = iter(range(100))

    def crash(data: bytes, folder: Path) -> None:
        if next(calls):  # the first call is the warm-up
            raise KeyError("x")

    crashed = _row(crash, tmp_path)
    assert len(crashed.failures) == 2 and "KeyError" in crashed.failures[0]
    assert len(list((tmp_path / "kept").glob("*.bin"))) == 2

    def mute(data: bytes, folder: Path) -> None:
        raise InputError(" ")

    assert "without a word" in _row(mute, tmp_path).failures[0]
    monkeypatch.setattr("fuzz.harness.SECONDS", 0.05)

    def busy(data: bytes, folder: Path) -> None:
        end = time.process_time() + 0.5
        while time.process_time() < end:
            try:
                sum(range(1000))
            except Exception:  # what catches broadly does not catch the clock
                warnings.warn("caught", stacklevel=1)

    monkeypatch.setattr("fuzz.harness.STUCK", 60.0)
    assert "took" in _row(busy, tmp_path).failures[0]
    monkeypatch.setattr("fuzz.harness.SECONDS", 10.0)
    monkeypatch.setattr("fuzz.harness.MEMORY", 2**20)

    def large(data: bytes, folder: Path) -> None:
        with mmap.mmap(-1, 64 * 2**20) as fresh:  # past an allocator that keeps what was freed
            for _ in range(64):
                fresh.write(bytes(2**20))

    if Path("/proc/self/clear_refs").exists():
        assert "MB" in _row(large, tmp_path).failures[0]
