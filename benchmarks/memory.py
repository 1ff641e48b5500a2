"""Does memory stay flat? Explains pictures of changing sizes again and again and prints the resident memory.

python benchmarks/memory.py --calls 300
"""

from __future__ import annotations

import argparse
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

import maskwise as mw
from maskwise.core.allocator import keep_freed_memory

METHODS: dict[str, dict[str, Any]] = {
    "distilled": {}, "casm": {}, "gradient": {}, "grad_cam": {}, "integrated_gradients": {"steps": 8},
    "smooth_grad": {"samples": 8}, "rise": {"masks": 16}, "lrp": {}, "occlusion": {"window": 0.5, "stride": 0.25},
}  # fmt: skip
WARM, BOUND = 50, 0.05


def resident() -> float:
    """Megabytes of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--classifier", default="efficientnet_lite0")
    given = parser.parse_args()
    if given.calls < 2 * WARM:
        parser.error(f"--calls of at least {2 * WARM}: the first {WARM} warm up")
    torch.set_num_threads(1)
    keep_freed_memory()
    classifier = mw.load_classifier(given.classifier)
    explainers = [mw.explainer(name, classifier, **options) for name, options in METHODS.items()]
    draws, found, began = torch.Generator().manual_seed(0), list[float](), time.monotonic()
    for call in range(given.calls):
        side = 180 + 8 * (call % 7)
        image = torch.rand(1, 3, side, side + 24, generator=draws)
        explainers[call % len(explainers)](image, call % 1000)
        found.append(resident())
    # The largest before and after: a method's own call may take more than the next one's.
    before, after = max(found[len(METHODS) : WARM]), max(found[WARM:])
    print(
        f"{given.calls} calls of {len(METHODS)} methods, {classifier.name}: at most {before:.0f} MB up to call {WARM}, "
        f"{after:.0f} MB after it ({100 * (after / before - 1):+.1f}%), {found[-1]:.0f} MB at the end, "
        f"{time.monotonic() - began:.0f} s"
    )
    if after > before * (1 + BOUND):
        sys.exit(f"memory grew by more than {BOUND:.0%}")


if __name__ == "__main__":
    main()
