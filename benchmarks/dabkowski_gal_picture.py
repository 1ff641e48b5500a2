"""The picture in docs/real-time.md: two classes in one picture, each asked for, and one that is not there.

    python benchmarks/dabkowski_gal_picture.py --out docs/images/dabkowski_gal.png

Two packaged photographs stand side by side as one picture; the three maps of a row come from one encoder pass.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

import maskwise as mw
from maskwise.core.files import atomic_write
from maskwise.drawing import overlay
from maskwise.images import packaged_pictures, resize, to_uint8

PAIRS = (("cat", "coffee"), ("flower", "temple"))
CLASSES = {"cat": "Egyptian cat", "coffee": "espresso", "flower": "daisy", "temple": "bell cote"}
ABSENT = "garbage truck"
CONFIDENCE = 0  # the paper's


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", type=Path, default=Path("docs/images/dabkowski_gal.png"))
    given = arguments.parse_args()
    classifier = mw.load_classifier("efficientnet_lite0")
    explain = mw.explainer("dabkowski_gal", classifier, confidence=CONFIDENCE)
    files = {path.stem: path for path in packaged_pictures()}
    figure = Figure(figsize=(12, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(PAIRS), 4)
    for row, pair in zip(axes, PAIRS, strict=True):
        images = torch.cat([resize(mw.load_images([files[name]]), 224) for name in pair], 3)
        asked = [*(CLASSES[name] for name in pair), ABSENT]
        with torch.no_grad():
            chances = classifier.logits(classifier.prepare(images)).softmax(1)[0]
        maps = explain(images, [asked])[0]
        panels = [(to_uint8(images[0]), "picture")]
        for name, found in zip(asked, maps, strict=True):
            chance = float(chances[classifier.labels.resolve(name)])
            panels.append((overlay(images[0], found), f"{name} (p {chance:.2f}, area {float(found.mean()):.2f})"))
        for axis, (picture, title) in zip(row, panels, strict=True):
            axis.imshow(picture)
            axis.set_title(title, fontsize=9)
            axis.set_axis_off()
    with atomic_write(given.out) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
    print(given.out)


if __name__ == "__main__":
    main()
