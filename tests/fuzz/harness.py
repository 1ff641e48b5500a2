"""One input after another: what is refused, what is taken, and what breaks the promise.

The promise: an input is read or refused with one clear line, within two seconds and one gigabyte.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType

from maskwise.core.errors import LONGEST, InputError

SECONDS = 2.0  # of processor time, which other programs on the machine do not lengthen
STUCK = 600.0  # of wall clock, after which the whole run gives up: long, since a busy machine is no hang
MEMORY = 2**30


class TooSlow(BaseException):
    """Not an Exception: what catches broadly shall not catch this."""


@dataclass(frozen=True)
class Target:
    """What is fuzzed.

    Attributes:
        name: of the table's row.
        share: of all inputs.
        make: an input from a source of randomness.
        read: reads it, with a folder to write to; raises InputError where it refuses.
    """

    name: str
    share: float
    make: Callable[[Random], bytes]
    read: Callable[[bytes, Path], None]


@dataclass
class Row:
    """What came of one target."""

    target: str
    inputs: int = 0
    accepted: int = 0
    refused: int = 0
    slowest: float = 0.0
    peak: int = 0
    failures: list[str] = field(default_factory=list)

    def add(self, other: Row) -> None:
        """The sum of two rows; the worse of their extremes."""
        self.inputs, self.accepted = self.inputs + other.inputs, self.accepted + other.accepted
        self.refused, self.failures = self.refused + other.refused, [*self.failures, *other.failures]
        self.slowest, self.peak = max(self.slowest, other.slowest), max(self.peak, other.peak)


def run(target: Target, inputs: int, seed: int, folder: Path, keep: Path) -> Row:
    """Feeds ``inputs`` inputs to the target; what breaks the promise is kept as a file in ``keep``.

    Args:
        folder: for the target's own files.
    """
    row = Row(target.name)
    with contextlib.suppress(InputError):
        target.read(target.make(Random(0)), folder)  # imports are nobody's hang
    for number in range(inputs):
        data = target.make(Random(f"{seed}/{target.name}/{number}"))
        failure = _one(target, data, folder, row, keep / f"{target.name}-{seed}-{number}.bin")
        row.inputs += 1
        if failure is not None:
            row.failures.append(f"{target.name} {seed}/{number}: {failure}")
    return row


def _one(target: Target, data: bytes, folder: Path, row: Row, saved: Path) -> str | None:
    failure: str | None = None
    before, began = _reset_peak(), time.process_time()
    try:
        with _limits(lambda: _save(saved, data, "stuck")):
            target.read(data, folder)
        row.accepted += 1
    except InputError as error:
        row.refused += 1
        if not str(error).strip():
            failure = "refused without a word"
        elif len(str(error)) > LONGEST:
            failure = f"refused with {len(str(error))} signs"
    except TooSlow:
        failure = f"took more than {SECONDS:g} s"
    except (Exception, SystemExit):
        failure = traceback.format_exc()
    seconds, peak = time.process_time() - began, _peak() - before
    row.slowest, row.peak = max(row.slowest, seconds), max(row.peak, peak)
    if failure is None and seconds > SECONDS:
        failure = f"took {seconds:.1f} s"
    if failure is None and peak > MEMORY:
        failure = f"took {peak / 2**20:.0f} MB"
    if failure is not None:
        _save(saved, data, failure)
    return failure


def _save(path: Path, data: bytes, why: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    path.with_suffix(".txt").write_text(why, encoding="utf-8", errors="replace")


@contextmanager
def _limits(last_words: Callable[[], None]) -> Iterator[None]:
    """Python code is interrupted after its two seconds; code that never comes back to Python ends the program."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise TooSlow

    def give_up() -> None:
        last_words()
        os._exit(3)

    watch = threading.Timer(STUCK, give_up)
    watch.daemon = True
    watch.start()
    old = signal.signal(signal.SIGPROF, interrupt)
    signal.setitimer(signal.ITIMER_PROF, SECONDS * 1.5)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
        watch.cancel()


def _reset_peak() -> int:
    """Linux forgets the highest memory so far; returns what is in use now."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _peak()
    return _peak()


def _peak() -> int:
    """The process's highest resident memory, in bytes; 0 where Linux's /proc is not."""
    try:
        status = Path("/proc/self/status").read_bytes()
    except OSError:
        return 0
    return int(status.partition(b"VmHWM:")[2].split(None, 1)[0]) * 1024
