"""A picture for each method's page: `python docs/pictures.py [NAME…]`, on the packaged cat; some take minutes."""

import sys
import time
from pathlib import Path

import numpy as np
from PIL import Image

import maskwise as mw
from maskwise.drawing import overlay
from maskwise.explainers import methods
from maskwise.images import packaged_pictures, to_uint8

FOLDER = Path(__file__).parent / "images" / "methods"


def main(names: list[str]) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    classifier = mw.load_classifier()
    images = mw.load_images([packaged_pictures()[0]])
    for name in names or methods.names():
        if (FOLDER / f"{name}.webp").exists() and not names:
            continue
        began = time.perf_counter()
        try:
            saliency = mw.explainer(name, classifier)(images)[0]
        except mw.InputError as error:  # a masker that is not packaged
            print(f"{name}: {error}")
            continue
        side_by_side = np.concatenate([to_uint8(images[0]), overlay(images[0], saliency)], 1)
        Image.fromarray(side_by_side).save(FOLDER / f"{name}.webp", quality=75, method=6)
        print(f"{name}: {time.perf_counter() - began:.1f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
