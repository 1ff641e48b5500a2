"""LE of boxes that know no picture, on real ground truth: numbers that a correct IoU and scaling must give."""

import csv
import io
import zipfile
from collections import defaultdict

import pytest
import torch
from conftest import DATA
from torch import Tensor

from maskwise.measures import metric

SIDE = 224


def boxes_of(name: str) -> list[Tensor]:
    """Ground truth of each test picture, squashed to 224 x 224."""
    with zipfile.ZipFile(DATA / f"{name}.zip") as archive:

        def table(file: str) -> list[dict[str, str]]:
            return list(csv.DictReader(io.StringIO(archive.read(f"{name}/{file}").decode())))

        pictures = [row for row in table("images.csv") if row["split"] == "test"]
        marked = pictures if "x0" in pictures[0] else table("boxes.csv")
    found = defaultdict(list)
    for row in marked:
        if row.get("kind", "body_from_trimap") == "body_from_trimap":
            found[row["file"]].append([float(row[edge]) for edge in ("x0", "y0", "x1", "y1")])
    scaled = []
    for row in pictures:
        scale = torch.tensor([SIDE / int(row["width"]), SIDE / int(row["height"])] * 2, dtype=torch.float64)
        scaled.append(torch.tensor(found[row["file"]], dtype=torch.float64) * scale)
    return scaled


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "pictures", "whole", "centre"),
    [("imagenette224", 250, 62.0, 48.8), ("cub10", 243, 78.6, 39.5), ("pets3", 299, 46.5, 21.7)],
)
def test_le_of_the_whole_and_of_the_centre(name: str, pictures: int, whole: float, centre: float) -> None:
    boxes = boxes_of(name)
    assert len(boxes) == pictures
    middle = torch.zeros(SIDE, SIDE)
    middle[33:-33, 33:-33] = 1
    for m, expected in ((torch.ones(SIDE, SIDE), whole), (middle, centre)):
        le = metric("le")
        le.update(m.expand(pictures, -1, -1), boxes=boxes)
        assert round(float(le.compute()), 1) == expected
