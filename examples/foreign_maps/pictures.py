"""What the three scripts share: their arguments, the pictures, and where a map goes."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

import maskwise as mw
from maskwise.core.spread import evenly_spread
from maskwise.images import resize


def arguments(what: str) -> argparse.Namespace:
    """SOURCE, OUT, --classifier and --limit."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("source", help="folder, zip or zip@split of pictures")
    parser.add_argument("out", type=Path, help="folder for the maps")
    parser.add_argument("--classifier", default="efficientnet_lite0")
    parser.add_argument("--limit", type=int, help="so many pictures, evenly spread, as `maskwise compare` takes them")
    return parser.parse_args()


def pictures(given: argparse.Namespace, classifier: mw.Classifier) -> Iterator[tuple[str, torch.Tensor, int]]:
    """Name, the normalised picture (1,3,S,S) as a network takes it, and the network's top class."""
    data = mw.read_data(given.source)
    for i in evenly_spread(len(data), given.limit):
        image = resize(data.image(data.records[i])[None], classifier.input_size)
        normalised = classifier.normalise(image)
        with torch.no_grad():
            top = int(classifier.module(normalised).argmax())
        yield data.records[i].id, normalised, top


def save(given: argparse.Namespace, name: str, saliency: np.ndarray) -> None:
    """One file, named as the picture and in its folder."""
    path = (given.out / name).with_suffix(".npy")
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, saliency.astype(np.float32))
