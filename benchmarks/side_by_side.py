"""Does a map follow the class that is asked for? Two pictures side by side as one, each class asked for.

    python benchmarks/side_by_side.py --data imagenette224.zip@train --methods dabkowski_gal grad_cam --pairs 100

Pairs of pictures of different classes are drawn by the seed. Counted: how often a class's map is larger on the mean in
the half that shows it (50% is chance), and the mean part of the map that lies there. All classes of a picture share
one pass.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor

import maskwise as mw
from maskwise.data import read_data
from maskwise.images import resize


def drawn(source: str, pairs: int, size: int, seed: int) -> list[tuple[Tensor, tuple[int, int]]]:
    """Pictures (1,3,size,2 size) and the classes left and right."""
    data = read_data(source)
    order = [i for i, record in enumerate(data.records) if record.label is not None]
    random.Random(seed).shuffle(order)
    found: list[tuple[Tensor, tuple[int, int]]] = []
    for both in pairwise(order):
        left, right = (data.records[i].label for i in both)
        if left != right and len(found) < pairs:
            halves = [resize(data[i].image[None], size) for i in both]
            found.append((torch.cat(halves, 3), (int(left or 0), int(right or 0))))
    return found


def main(given: Sequence[str] | None = None) -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--methods", nargs="+", default=["dabkowski_gal", "grad_cam"])
    arguments.add_argument("--weights", help="of dabkowski_gal, in place of the packaged ones")
    arguments.add_argument("--confidence", type=float, default=0, help="of dabkowski_gal")
    arguments.add_argument("--pairs", type=int, default=100)
    arguments.add_argument("--seed", type=int, default=0)
    said = arguments.parse_args(given)
    classifier = mw.load_classifier("efficientnet_lite0")
    pictures = drawn(said.data, said.pairs, classifier.input_size, said.seed)
    print(f"{len(pictures)} pairs of {said.data}, seed {said.seed}\n")
    print("| method | in its half | part of the map |\n|---|---|---|")
    for name in said.methods:
        options = {"confidence": said.confidence} if name == "dabkowski_gal" else {}
        weights = {"weights": said.weights} if name == "dabkowski_gal" and said.weights else {}
        explain = mw.explainer(name, classifier, **options, **weights)
        parts = []
        for images, classes in pictures:
            left, right = explain(images, [classes])[0].chunk(2, -1)  # (2,H,W) each
            means = torch.stack([left.mean((1, 2)), right.mean((1, 2))], 1)
            parts.append((means / means.sum(1, keepdim=True).clamp_min(1e-9)).diagonal())
        own = torch.cat(parts)
        print(f"| {name} | {100 * (own > 0.5).double().mean():.1f}% | {own.mean():.2f} |", flush=True)


if __name__ == "__main__":
    main()
