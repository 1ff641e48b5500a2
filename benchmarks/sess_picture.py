"""The picture of docs/sess.md: small and repeated objects, without and with SESS.

python benchmarks/sess_picture.py docs/images/sess.png
"""

from __future__ import annotations

import sys

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

import maskwise as mw
from maskwise.core.files import atomic_write
from maskwise.drawing import overlay
from maskwise.images import load_image, packaged_pictures, resize, to_uint8

METHODS = ("grad_cam", "guided_backprop", "casm")


def scene() -> Tensor:
    """(3,560,840): four small cats, one turned round, on a photograph of a temple."""
    pictures = {path.stem: load_image(path)[None] for path in packaged_pictures()}
    image = resize(pictures["temple"], (560, 840))
    cat = pictures["cat"][..., 10:290, 60:400]
    for x, y, width, turned in (
        (40, 380, 130, False),
        (300, 60, 90, True),
        (520, 400, 110, False),
        (700, 120, 100, True),
    ):
        small = resize(cat.flip(-1) if turned else cat, (int(width * 280 / 340), width))
        image[..., y : y + small.shape[-2], x : x + width] = small
    return image


def main(path: str) -> None:
    classifier = mw.load_classifier("efficientnet_lite0")
    rocket = load_image(next(p for p in packaged_pictures() if p.stem == "rocket"))[None]
    rows: list[tuple[Tensor, int | str]] = [(scene(), "Egyptian cat"), (rocket, 657)]
    figure = Figure(figsize=(15, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(rows), 1 + 2 * len(METHODS))
    for axes, (image, target) in zip(grid, rows, strict=True):
        axes[0].imshow(to_uint8(image[0]))
        axes[0].set_title(classifier.labels.name(classifier.labels.resolve(target)), fontsize=9)
        for m, method in enumerate(METHODS):
            base = mw.explainer(method, classifier)
            for axis, explain, label in ((axes[2 * m + 1], base, ""), (axes[2 * m + 2], mw.SESS(base), " + SESS")):
                saliency = explain(image, target)[0]
                axis.imshow(overlay(image[0], saliency / saliency.max()))
                axis.set_title(method + label, fontsize=9)
    for axis in grid.flatten():
        axis.axis("off")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png")


if __name__ == "__main__":
    torch.set_num_threads(2)
    main(sys.argv[1])
