"""What each learned explainer's training costs on a CPU, and how many steps a budget buys; for `study learned`.

    python benchmarks/learned_budget.py --data imagenet1000_samples.zip --pictures 5888 --budget 3600

Each recipe is trained twice for a few steps, in a process of its own, and their processor time (user and system, all
threads) compared: the difference is what a step costs, and the rest what comes before the first one. What comes before
grows with the pictures (a teacher's labels, a file of taps), and is scaled from those of --data to --pictures, less
what the first recipe needs, which has neither.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from maskwise.data import read_data
from maskwise.studies.grids.learned import LEARNED, LearnedRow


def seconds(learned: LearnedRow, data: str, steps: int) -> float:
    """Processor seconds of one training from its start to its end."""
    with tempfile.TemporaryDirectory() as folder:
        sets = [part for one in (*learned.timed, f"steps={steps}") for part in ("--set", one)]
        call = [sys.executable, "-m", "maskwise", "train", learned.small, "--data", data, "--device", "cpu",
                "--no-page", "--out", str(Path(folder, "run")), *sets]  # fmt: skip
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(call, check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(words: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--pictures", type=int, default=5888, help="of the training that the budget is for")
    parser.add_argument("--budget", type=float, default=3600, help="core-seconds")
    parser.add_argument("--steps", type=int, nargs=2, default=(2, 8))
    parser.add_argument("--only", nargs="*", help="rows of the study")
    parser.add_argument("--idle", type=float, default=0, help="core-seconds before step 1; or the first row's")
    given = parser.parse_args(words)
    here, (few, more) = len(read_data(given.data).records), given.steps
    idle = given.idle
    for row, learned in LEARNED.items():
        if given.only and row not in given.only:
            continue
        first, second = (seconds(learned, given.data, n) for n in (few, more))
        step = (second - first) / (more - few)
        before = first - few * step
        idle = idle or before
        start = idle + (before - idle) * given.pictures / here
        bought = max(int((given.budget - start) / step), 0)
        found = {"row": row, "recipe": learned.small, "step": round(step, 2), "before": round(start), "steps": bought}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
