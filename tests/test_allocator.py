"""Freed memory is kept: in a process of its own, since it is for good."""

import subprocess
import sys

import pytest

HELD = """
import sys
import numpy as np
from pathlib import Path
from maskwise.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
held = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
before = held()
a = np.ones(16 * 2**20)
during = held()
del a
print(during - before, held() - before)
"""


def megabytes(how: str) -> list[float]:
    """What the process holds more than before: with an array of 128 MB, and after it was freed."""
    done = subprocess.run([sys.executable, "-c", HELD, how], capture_output=True, text=True, check=True)
    return [float(value) for value in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_what_was_freed_stays_with_the_process() -> None:
    there, after = megabytes("leave")
    assert there > 120 and after < 8
    there, after = megabytes("keep")
    assert there > 120 and after > 120
