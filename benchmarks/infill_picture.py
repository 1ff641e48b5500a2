"""The picture of docs/infillers.md: packaged photographs, a hole each, and what every infiller puts there.

python benchmarks/infill_picture.py docs/images/infillers.png
"""

from __future__ import annotations

import sys

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

import maskwise as mw
from maskwise.blending import masked_out
from maskwise.box import binarise
from maskwise.core.files import atomic_write
from maskwise.images import load_image, packaged_pictures, resize, to_uint8
from maskwise.infill import infiller, infillers
from maskwise.infill.holes import strokes

SIDE = 224


def scenes(classifier: mw.Classifier) -> list[tuple[str, Tensor, Tensor]]:
    """(what the hole is, picture (1,3,S,S), hole (1,S,S)): strokes, a salient object, and all but one."""
    pictures = {path.stem: resize(load_image(path)[None], SIDE) for path in packaged_pictures()}
    masker = mw.explainer("casm", classifier)
    flower, cat = (binarise(masker(pictures[name])).float() for name in ("flower", "cat"))
    painted = torch.from_numpy(strokes(SIDE, np.random.default_rng(3)))[None]
    return [
        ("strokes", pictures["temple"], painted),
        ("masked-out", pictures["flower"], flower),
        ("masked-in", pictures["cat"], 1 - cat),
    ]


def main(path: str) -> None:
    classifier = mw.load_classifier("efficientnet_lite0")
    names = [name for name, facts in infillers.items() if not facts["needs_weights"]]
    figure = Figure(figsize=(1.75 * (2 + len(names)), 5.6), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(3, 2 + len(names))
    torch.manual_seed(0)
    for axes, (kind, image, hole) in zip(grid, scenes(classifier), strict=True):
        white = masked_out(image, hole, torch.ones(1, 3, 1, 1))
        cells = [("picture", image), (f"hole: {kind}", white)]
        for name in names:
            cells.append((name, masked_out(image, hole, infiller(name)(image, hole, classifier.mean))))
        for axis, (title, cell) in zip(axes, cells, strict=True):
            axis.imshow(to_uint8(cell[0]))
            axis.set_title(title, fontsize=9)
            axis.axis("off")
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=90, format="png", metadata={"Source": " ".join(names)})  # a test sees an old one


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(sys.argv[1])
