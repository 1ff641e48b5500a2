"""A training step against the bare forwards and backwards that it can't do without, timed in turn; and the loader.

    python benchmarks/training.py --repeats 5 --data imagenet1000_samples.zip

The floor of a step is made of calls of the same classifier on the same pictures: one forward of the clean pictures
and one of the masked ones, a backward to the pictures for the mask, and backwards to the weights where the classifier
learns. Cropping, decoding, the decoder, the losses and both optimisers are what comes on top. Processor time (user
and system, all threads) is less moved by what else a machine does; wall time stands beside it.

With --data the loader is timed alone, over two epochs of 640 pictures: the first decodes, the second finds them in the
cache. How many times what a step eats it delivers stands beside each case.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import platform
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

import maskwise as mw
from maskwise.core.allocator import keep_freed_memory
from maskwise.data import read_data
from maskwise.training import recipes
from maskwise.training.distributed.processes import fabric_of
from maskwise.training.loader import Loader
from maskwise.training.mask import MaskTrainer

CASES = {
    "phang/fix": ("fixed classifier, both sides", []),
    "casm_baseline": ("fixed classifier, masked-out", []),
    "casm live": ("adapting classifier, masked-out, newest judges", ["p_history=0"]),
    "phang/ca live": ("adapting classifier, both sides, newest judges", ["p_history=0"]),
    "phang/ca older": ("adapting classifier, both sides, an older one judges", ["p_history=1", "thinning=FL"]),
}


def clocks() -> tuple[float, float]:
    return time.perf_counter(), sum(os.times()[:2])


def timed(call: Callable[[], object], device: torch.device) -> tuple[float, float]:
    before = clocks()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize()
    after = clocks()
    return after[0] - before[0], after[1] - before[1]


def floor(trainer: MaskTrainer, images: Tensor, labels: Tensor, older: bool) -> Callable[[], object]:
    """What a step has to ask of the classifier, and nothing else."""
    live = trainer.live
    weights = trainer.classifier_parameters
    sides = len(trainer.sides)
    masked_labels = labels.repeat(sides)

    def call() -> None:
        with trainer.fabric.autocast():
            masked = images.repeat(sides, 1, 1, 1).contiguous(memory_format=torch.channels_last).requires_grad_()
            with torch.set_grad_enabled(trainer.adapts):
                clean = live.logits(images)
            if not trainer.adapts:
                torch.autograd.grad(F.cross_entropy(live.logits(masked), masked_labels), masked)
                return
            if older:  # the judge costs as much as the live one with its weights at rest
                for weight in weights:
                    weight.requires_grad_(False)
                torch.autograd.grad(F.cross_entropy(live.logits(masked), masked_labels), masked)
                for weight in weights:
                    weight.requires_grad_(True)
                seen = live.logits(masked.detach())
            else:
                seen = live.logits(masked)
                torch.autograd.grad(F.cross_entropy(seen, masked_labels), masked, retain_graph=True)
            loss = F.cross_entropy(clean, labels) + F.cross_entropy(seen, masked_labels)
            torch.autograd.grad(loss, weights)

    return call


def loader_seconds(source: str, size: int, batch: int, device: torch.device) -> tuple[float, float]:
    """Of one batch, decoded and from the cache."""
    pictures = 640 // batch * batch
    data = read_data(source)
    recipe = recipes.load("casm", [f"batch_size={batch}", "fraction=1", "epochs=2"])
    found = Loader([data.subset(range(min(len(data), pictures)))], recipe, size, device=device, cache_bytes=1 << 32)
    found.labels = [0] * len(found.items)
    batches, taken = found.batches(0, 2 * found.steps), []
    for _ in range(2):
        began = time.perf_counter()
        for _ in range(found.steps):
            next(batches)
        if device.type == "cuda":
            torch.cuda.synchronize()
        taken.append((time.perf_counter() - began) / found.steps)
    return taken[0], taken[1]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--classifier", default="efficientnet_lite0")
    options.add_argument("--size", type=int, default=144)
    options.add_argument("--batch", type=int, default=32)
    options.add_argument("--repeats", type=int, default=5)
    options.add_argument("--device", default="cpu")
    options.add_argument("--precision", default="fp32")
    options.add_argument("--data", help="pictures for the loader")
    options.add_argument("--cases", nargs="+", default=list(CASES), choices=list(CASES))
    given = options.parse_args()
    keep_freed_memory()
    rows = []
    device = fabric_of(given.device).device
    loading = loader_seconds(given.data, given.size, given.batch, device) if given.data else None
    if loading:
        print(f"the loader alone: {loading[0]:.3f} s a batch decoded, {loading[1]:.3f} s from the cache", flush=True)
    for case in given.cases:
        title, settings = CASES[case]
        fabric = fabric_of(given.device, precision=given.precision)
        classifier = mw.load_classifier(given.classifier).to(fabric.device)
        recipe = recipes.load(case.split()[0], [f"input_size={given.size}", *settings])
        trainer = MaskTrainer(classifier, recipe, 100, fabric)
        images = torch.rand(given.batch, 3, given.size, given.size, generator=torch.Generator().manual_seed(0))
        images = images.to(fabric.device).contiguous(memory_format=torch.channels_last)
        labels = (torch.arange(given.batch) * 37 % len(classifier.labels)).to(fabric.device)
        bare = floor(trainer, images, labels, "older" in case)
        trainer.step(images, labels)
        bare()
        step = functools.partial(trainer.step, images, labels)
        pairs = [(timed(step, fabric.device), timed(bare, fabric.device)) for _ in range(given.repeats)]
        wall = statistics.median(ours[0] / least[0] for ours, least in pairs)
        used = statistics.median(ours[1] / least[1] for ours, least in pairs)
        seconds = statistics.median(ours[0] for ours, _ in pairs)
        row = {"case": title, "recipe": case, "seconds_per_step": seconds, "of_floor": wall, "of_floor_processor": used}
        line = f"{title:55} {seconds:6.2f} s  {wall:5.2f} of its floor, {used:5.2f} in processor time"
        if loading:
            row |= {"loader_decoding": seconds / loading[0], "loader_cached": seconds / loading[1]}
            line += f"; the loader does {seconds / loading[0]:.1f} and {seconds / loading[1]:.1f} batches meanwhile"
        rows.append(row)
        print(line, flush=True)
    machine = {"machine": platform.machine(), "threads": torch.get_num_threads(), "torch": torch.__version__}
    print(json.dumps({**vars(given), **machine, "rows": rows}))


if __name__ == "__main__":
    main()
