"""Kills work of eight kinds at random moments, many times, and prints what it survived.

python scripts/kill_trials.py --trials 20
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from faults.killable import survive
from faults.killable_files import KILLABLE


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="of each kind of work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", choices=sorted(KILLABLE), action="append")
    asked = parser.parse_args()
    for name in asked.work or KILLABLE:
        kind = KILLABLE[name]
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            survive(kind.work, Path(folder) / "straight", random.Random(), 0, most=0)  # starts what is forked from
            straight, again = kind.outcome(Path(folder) / "straight"), time.monotonic()
            survive(kind.work, Path(folder) / "timed", random.Random(), 0, most=0)
            longest = time.monotonic() - again
            kills = files = 0
            for trial in range(asked.trials):
                out = Path(folder) / str(trial)
                found = survive(kind.work, out, random.Random(asked.seed + trial), longest)
                kills, files = kills + found.kills, files + found.files
                if not kind.same(kind.outcome(out), straight):
                    sys.exit(f"{name}, trial {trial}: the result differs from that of a run never killed")
            print(
                f"{name}: {asked.trials} trials, {kills} kills, {files} files read after them, "
                f"0 differences, {time.monotonic() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
