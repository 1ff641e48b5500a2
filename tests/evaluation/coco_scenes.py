"""Tiny pictures in COCO's layout: rectangles of two classes, and a classifier whose classes these are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("car", "dog")  # of COCO's ids 3 and 18
# Of each 64x48 picture its objects: class, x0, y0, x1, y1.
SCENES = [
    [(0, 2, 2, 20, 20), (1, 40, 10, 60, 40)],
    [(1, 0, 0, 10, 10), (1, 50, 30, 64, 48)],
    [(0, 0, 0, 64, 40), (1, 30, 41, 40, 47)],
    [],
    [(0, 30, 20, 40, 30)],
]
SIZE = (48, 64)


def write_scenes(root: Path) -> Path:
    """The layout below ``root``, as ``coco:ROOT`` reads it."""
    draws = np.random.default_rng(0)
    (root / "val2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    annotations = []
    for i, objects in enumerate(SCENES):
        array = draws.integers(0, 120, (*SIZE, 3), dtype=np.uint8)
        for kind, x0, y0, x1, y1 in objects:
            array[y0:y1, x0:x1, kind] += 100
            polygon = [x0, y0, x1, y0, x1, y1, x0, y1]
            annotations.append(
                {"image_id": i, "category_id": (3, 18)[kind], "bbox": [x0, y0, x1 - x0, y1 - y0], "iscrowd": 0,
                 "segmentation": [polygon]}
            )  # fmt: skip
        Image.fromarray(array).save(root / "val2017" / f"{i}.png")
    images = [{"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]} for i in range(len(SCENES))]
    categories = [{"id": 3, "name": "car"}, {"id": 18, "name": "dog"}]
    table = {"images": images, "categories": categories, "annotations": annotations}
    (root / "annotations" / "instances_val2017.json").write_text(json.dumps(table))
    return root
