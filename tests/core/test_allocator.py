"""Freed memory is kept: in a process of its own, since it is for good."""

import subprocess
import sys
from pathlib import Path

import pytest

HELD = """
import sys
import numpy as np
from pathlib import Path
from maskwise.core.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
held = lambda: int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20
before = held()
a = np.ones(16 * 2**20)
during = held()
del a
print(during - before, held() - before)
"""

MEASURED = """
import torch
from conftest import tiny_net
from maskwise.core.allocator import keep_freed_memory
from maskwise.classifiers import Classifier
from maskwise.evaluation import Contender, measure, leaderboard
from maskwise.measures import metric
def taking(megabytes):
    def explain(images, targets):
        torch.ones(megabytes * 2**18)
        return torch.rand(len(images), *images.shape[-2:])
    return explain
assert keep_freed_memory()
contenders = [Contender.of(f"m{n}", taking(n)) for n in (400, 200)]
judge = Classifier(tiny_net(), input_size=32)
measured = measure(contenders, judge, ["shapes:n=12,size=32"], {"area": metric("area")})
lines = leaderboard(measured).lines
print(*(next(line.megabytes for line in lines if line.method == c.name) for c in contenders))
"""


def megabytes(how: str) -> list[float]:
    """What the process holds more than before: with an array of 128 MB, and after it was freed."""
    return printed(HELD, how)


def printed(script: str, *arguments: str) -> list[float]:
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return [float(value) for value in done.stdout.split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_what_was_freed_stays_with_the_process() -> None:
    there, after = megabytes("leave")
    assert there > 120 and after < 8
    there, after = megabytes("keep")
    assert there > 120 and after > 120


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
def test_what_others_left_does_not_hide_what_a_method_takes() -> None:
    first, second = printed(MEASURED)
    assert 390 < first < 440 and 190 < second < 240
