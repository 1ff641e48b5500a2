"""Pictures, one estimate of Banzhaf values each, and what maskers of a black box say of them; a masker a row.

python benchmarks/black_box_picture.py --data ilsvrc1275.zip@val --classifier lite0.onnx --masker masker.safetensors
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import maskwise as mw
from maskwise.data import read_data
from maskwise.drawing import overlay
from maskwise.images import to_uint8


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True)
    arguments.add_argument("--classifier", required=True, help="an ONNX file of pictures from -1 to 1")
    arguments.add_argument("--masker", type=Path, action="append", default=[], help="may be given again")
    arguments.add_argument("--places", type=int, nargs="+", default=[127, 286, 382, 541], help="of the pictures")
    arguments.add_argument("--out", type=Path, default=Path("black-box.webp"))
    given = arguments.parse_args()
    classifier = mw.load_classifier(given.classifier, mean=[0.5] * 3, std=[0.5] * 3)
    data = read_data(given.data)
    explainers = [mw.explainer("banzhaf", classifier, masks=32, grid=7)]
    explainers += [mw.explainer("casm", classifier, masker=path) for path in given.masker]
    columns = []
    for place in given.places:
        images = classifier.prepare(data.image(data.records[place])[None])
        cells = [to_uint8(images[0])]
        for explain in explainers:
            found = explain(images)[0]
            cells.append(overlay(images[0], (found - found.min()) / (found.max() - found.min()).clamp(min=1e-9)))
        columns.append(np.concatenate(cells))
    Image.fromarray(np.concatenate(columns, 1)).save(given.out, quality=75, method=6)


if __name__ == "__main__":
    main()
