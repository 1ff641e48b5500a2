"""What metrics cost: beside Grad-CAM, insertion and deletion beside the plain loop, and 10,000 maps in a stream.

    python benchmarks/metrics.py --repeats 5

Each repeat times both sides, one after the other; the ratio is the median over repeats. Curves are compared before
they are timed; the largest difference is printed. Random weights change no cost.
"""

from __future__ import annotations

import argparse
import math
import resource
import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.evaluation.presets import metric_presets
from maskwise.measures import Metric, metric
from maskwise.measures.perturbation import CurveKind, area_under, curves, substrate

SIDE = 224


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
now = time.perf_counter


def timed(call: Callable[[], object], device: torch.device) -> float:
    began = now()
    call()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return now() - began


def compared(ours: Callable[[], object], theirs: Callable[[], object], repeats: int, on: torch.device) -> list[float]:
    """Median seconds of both, which must be warm, and the median ratio theirs / ours."""
    times = [(timed(ours, on), timed(theirs, on)) for _ in range(repeats)]
    first, second = (statistics.median(side) for side in zip(*times, strict=True))
    return [first, second, statistics.median(b / a for a, b in times)]


def smooth_maps(count: int, draws: torch.Generator) -> Tensor:
    """Like a CAM's: 7 x 7 numbers, enlarged."""
    return F.interpolate(torch.rand(count, 1, 7, 7, generator=draws), (SIDE, SIDE), mode="bilinear")[:, 0]


def ground_truth(count: int, draws: torch.Generator) -> tuple[list[Tensor], Tensor]:
    corners = (torch.rand(count, 2, 2, generator=draws).sort(1).values * 180).double()
    corners[:, 1] += 40
    boxes = [box[None] for box in corners.flatten(1)]
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for mask, box in zip(masks, corners.int().flatten(1).tolist(), strict=True):
        mask[box[1] : box[3], box[0] : box[2]] = True
    return boxes, masks


def untrained(name: str) -> Classifier:
    """As it is asked, not as it is trained: the plain loop calls the network itself, which would count batches else."""
    torch.manual_seed(0)
    return Classifier(torchvision.models.get_model(name, weights=None).eval(), name=f"{name}, random weights")


def beside_grad_cam(classifier: Classifier, count: int, repeats: int) -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, SIDE, SIDE, generator=draws).to(classifier.device)
    explain = mw.explainer("grad_cam", classifier)
    maps = smooth_maps(count, draws).to(classifier.device)
    boxes, masks = ground_truth(count, draws)
    masks = masks.to(classifier.device)
    updates = {
        "le": lambda made: made.update(maps, boxes=boxes),
        "f1": lambda made: made.update(maps, boxes=boxes),
        "pxap": lambda made: made.update(maps, masks=masks),
    }
    print(f"\nBeside Grad-CAM ({classifier.name}, {count} pictures of {SIDE} pixels)\n")
    print("| metric | ms a picture | Grad-CAM, ms a picture | share | aim |\n|---|---|---|---|---|")
    for name, update in updates.items():
        made = metric(name).to(classifier.device)

        def cost(made: Metric = made, update: Callable[[Metric], None] = update) -> None:
            update(made)

        cost()
        explain(images, 0)
        ours, theirs, ratio = compared(cost, lambda: explain(images, 0), repeats, classifier.device)
        cells = (name, f"{1e3 * ours / count:.2f}", f"{1e3 * theirs / count:.1f}", f"{100 / ratio:.1f}%", "<= 5%")
        print(f"| {' | '.join(cells)} |", flush=True)


def loop(classifier: Classifier, images: Tensor, maps: Tensor, mode: CurveKind, step: int) -> Tensor:
    """Image by image, step by step, one picture in a forward: as the released evaluation goes."""
    found = []
    for image, saliency in zip(images, maps, strict=True):
        normal = classifier.normalise(image[None])
        category = classifier.module(normal).argmax(1)
        start, end = normal.clone(), torch.zeros_like(normal)
        if mode == "insertion":
            blurred = substrate(image[None], classifier.mean, "gaussian51")
            start, end = classifier.normalise(blurred), normal
        order = saliency.flatten().argsort(descending=True, stable=True)
        steps = math.ceil(len(order) / step)
        scores = []
        for i in range(steps + 1):
            scores.append(classifier.module(start).softmax(1)[0, category])
            chosen = order[i * step : (i + 1) * step]
            start.flatten(2)[:, :, chosen] = end.flatten(2)[:, :, chosen]
        found.append(torch.cat(scores))
    return torch.stack(found).double()


def insertion_and_deletion(classifier: Classifier, count: int, repeats: int, step: int) -> None:
    draws = torch.Generator().manual_seed(0)
    images = torch.rand(count, 3, SIDE, SIDE, generator=draws).to(classifier.device)
    maps = smooth_maps(count, draws).to(classifier.device)
    modes: tuple[CurveKind, ...] = ("insertion", "deletion")

    def ours() -> list[Tensor]:
        return [curves(classifier, images, maps, mode=mode, step=step) for mode in modes]

    @torch.no_grad()
    def theirs() -> list[Tensor]:
        return [loop(classifier, images, maps, mode, step) for mode in modes]

    found = ours()
    difference = max(float((a - b).abs().max()) for a, b in zip(found, theirs(), strict=True))
    areas = " and ".join(f"{float(area_under(curve).mean()):.4f}" for curve in found)
    mine, rival, ratio = compared(ours, theirs, repeats, classifier.device)
    cells = (classifier.name, f"{difference:.1e}", areas, f"{mine:.1f}", f"{rival:.1f}", f"{ratio:.2f}", ">= 3")
    print(f"| {' | '.join(cells)} |", flush=True)


def stream(count: int, batch: int) -> None:
    """The metrics of the preset ``localisation``; only they are timed, not the making of maps."""
    draws = torch.Generator().manual_seed(0)
    counted = {name: metric(name) for name in metric_presets()["localisation"].metrics}
    seconds, early = dict.fromkeys(counted, 0.0), 0
    for i, first in enumerate(range(0, count, batch)):
        size = min(batch, count - first)
        maps, (boxes, masks) = smooth_maps(size, draws), ground_truth(size, draws)
        for name, made in counted.items():
            began = now()
            made.update(maps, **({"masks": masks} if "masks" in made.needs else {"boxes": boxes}))
            seconds[name] += now() - began
        if i == 2:  # allocators are warm
            early = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for name, made in counted.items():
        seconds[name] += timed(made.compute, torch.device("cpu"))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - early) / 1024
    print(f"\nThe preset localisation of {count:,} maps, {batch} at a time\n")
    print("| metric | seconds | aim |\n|---|---|---|")
    for name, took in seconds.items():
        print(f"| {name} | {took:.1f} | |")
    print(f"| all | {sum(seconds.values()):.1f} | < 60 on 2 cores |")
    print(f"\nPeak memory after three batches {early / 1024:.0f} MB, growth until the end {grown:.0f} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--step", type=int, default=1792, help="pixels a step of insertion and deletion")
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="cpu: on a machine that others use, too")
    given = parser.parse_args()
    global now
    now = CLOCKS[given.clock]
    torch.set_num_threads(given.threads)
    print(f"torch {torch.__version__}, {given.device}, {torch.get_num_threads()} threads, {given.clock} clock")
    if given.maps:
        stream(given.maps, 64)  # first, so that peak memory is the metrics' own
    residual = untrained("resnet50").to(given.device)
    beside_grad_cam(residual, given.images, given.repeats)
    print(f"\nInsertion and deletion of {given.images} pictures, {given.step} pixels a step\n")
    print("| classifier | largest difference | areas | s, shared batches | s, loop | loop / ours | aim |")
    print("|---|---|---|---|---|---|---|")
    for classifier in (residual, mw.load_classifier("efficientnet_lite0"), untrained("squeezenet1_1")):
        insertion_and_deletion(classifier.to(given.device), given.images, given.repeats, given.step)


if __name__ == "__main__":
    main()
