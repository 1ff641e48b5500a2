"""Kills training, evaluation and a study at random moments, many times, and prints what they survived.

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

from faults.killable import evaluation, log_of, same, study, survive, training


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20, help="of each kind of work")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", choices=["training", "evaluation", "study"], action="append")
    asked = parser.parse_args()
    for work in (training, evaluation, study):
        if asked.work and work.__name__ not in asked.work:
            continue
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            survive(work, Path(folder) / "straight", random.Random(), 0, most=0)  # starts the process that is forked
            straight, again = work(Path(folder) / "straight"), time.monotonic()
            survive(work, Path(folder) / "timed", random.Random(), 0, most=0)
            longest = time.monotonic() - again
            kills = files = 0
            for trial in range(asked.trials):
                out = Path(folder) / str(trial)
                found = survive(work, out, random.Random(asked.seed + trial), longest)
                kills, files = kills + found.kills, files + found.files
                if work is training:
                    first, second = (f / "masker.safetensors" for f in (Path(folder) / "straight", out))
                    alike = first.read_bytes() == second.read_bytes() and log_of(first.parent) == log_of(out)
                else:
                    alike = same(work(out), straight)
                if not alike:
                    sys.exit(f"{work.__name__}, trial {trial}: the result differs from that of a run never killed")
            print(
                f"{work.__name__}: {asked.trials} trials, {kills} kills, {files} files read after them, "
                f"0 differences, {time.monotonic() - began:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
