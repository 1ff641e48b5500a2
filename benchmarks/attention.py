"""Methods that read attention, in forwards of the same transformer, timed in pairs.

    python benchmarks/attention.py --network vit_tiny_patch16_224 --batches 1 8 --repeats 9

Random weights, top class known. Each repeat times one bare forward (no gradients) and one map, one after the other; the
ratio is the median over repeats of map / forward.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable

import timm
import torch

import maskwise as mw

AIMS = {"attention_rollout": 1.5, "generic_attention": 3.5, "legrad": 2.2, "grad_eclip": 1.5, "gradient": 3.5}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def timed(call: Callable[[], object], now: Callable[[], float]) -> float:
    began = now()
    call()
    return now() - began


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--network", default="vit_tiny_patch16_224", help="of timm")
    arguments.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    arguments.add_argument("--repeats", type=int, default=9)
    arguments.add_argument("--threads", type=int, default=1)
    arguments.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use, too")
    given = arguments.parse_args()
    now = CLOCKS[given.clock]
    torch.set_num_threads(given.threads)
    torch.manual_seed(0)
    classifier = mw.Classifier(timm.create_model(given.network).eval().requires_grad_(False), name=given.network)
    print(f"{given.network}, {platform.machine()}, {given.threads} threads, torch {torch.__version__}, ", end="")
    print(f"{given.clock} clock\n")
    print("| batch | method | forward s | map s | ratio | aim |\n|---|---|---|---|---|---|")
    for batch in given.batches:
        images = torch.rand(batch, 3, *classifier.size)

        def forward(images: torch.Tensor = images) -> None:
            with torch.inference_mode():
                classifier.logits(images)

        for name, aim in AIMS.items():
            explain = mw.explainer(name, classifier)

            def one(explain: Callable[..., object] = explain, images: torch.Tensor = images) -> object:
                return explain(images, 1)

            forward()
            one()
            times = [(timed(forward, now), timed(one, now)) for _ in range(given.repeats)]
            bare, mapped = (statistics.median(t) for t in zip(*times, strict=True))
            ratio = statistics.median(b / a for a, b in times)
            print(f"| {batch} | {name} | {bare:.4f} | {mapped:.4f} | {ratio:.2f} | {aim} |", flush=True)


if __name__ == "__main__":
    main()
