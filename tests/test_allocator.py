"""Freed memory is kept: counted in page faults, in a process of its own since it is for good."""

import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import numpy as np
from maskwise.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def use():
    a = np.ones(4_000_000)
    return float((a + a).sum())
use()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    use()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_a_block_that_was_freed_is_not_asked_for_again() -> None:
    """Five times two arrays of 32 MB are 78,000 pages of 4 kB."""
    assert faults("leave") > 5_000, "without it every array comes as new pages (fewer faults where pages are huge)"
    assert faults("keep") < 500
