"""What keeping freed memory saves: processor seconds of maps with and without it, each time in a process of its own.

python benchmarks/freed_memory.py --repeats 3
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time

CASES: dict[str, dict[str, int]] = {
    "smooth_grad": {},
    "group_cam": {},
    "xrai": {},
    "rise": {"masks": 300},
    "meaningful_perturbation": {"iterations": 30},
    "extremal_perturbation": {"iterations": 20},
}


def timed(keep: bool) -> dict[str, float]:
    """Processor seconds of one packaged picture's map, by method."""
    import torch

    import maskwise as mw
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.images import packaged_pictures

    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    classifier = mw.load_classifier()
    image = mw.load_images(packaged_pictures()[0], size=224)
    found = {}
    for name, options in CASES.items():
        explain = mw.explainer(name, classifier, **options)
        began = time.process_time()
        explain(image)
        found[name] = time.process_time() - began
    return found


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--repeats", type=int, default=3)
    arguments.add_argument("--once", choices=("keep", "leave"), help="one process's part; prints JSON")
    given = arguments.parse_args()
    if given.once:
        print(json.dumps(timed(given.once == "keep")))
        return
    runs: dict[str, list[dict[str, float]]] = {"leave": [], "keep": []}
    for _ in range(given.repeats):
        for how, done in runs.items():
            ran = subprocess.run([sys.executable, __file__, "--once", how], capture_output=True, text=True, check=True)
            done.append(json.loads(ran.stdout))
    print("| method | given back | kept |\n|---|---|---|")
    for name, options in CASES.items():
        said = "".join(f", {value} {key}" for key, value in options.items())
        left, kept = (statistics.median(run[name] for run in runs[how]) for how in ("leave", "keep"))
        print(f"| `{name}`{said} | {left:.2f} | {kept:.2f} |")


if __name__ == "__main__":
    main()
