"""Boxes in shares of width and height, as detectors are trained with, are no pixels."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from data.making import picture, text

from maskwise.data import read_data

Kind = Callable[[Path, tuple[str, ...]], str]
SHARES, PIXELS = ("a.png,0.1,0.2,0.5,0.9", "b.png,0,0,1,1"), ("a.png,0,0,1,1", "b.png,0,0,2,1")


def folder(root: Path, rows: tuple[str, ...]) -> str:
    for name in ("a", "b"):
        picture(root / "images" / f"{name}.png")
    text(root / "boxes.csv", "file,x0,y0,x1,y1", *rows)
    return str(root)


def archive(root: Path, rows: tuple[str, ...]) -> str:
    with zipfile.ZipFile(root / "set.zip", "w") as file:
        for name in ("a", "b"):
            file.write(picture(root / f"{name}.png"), f"top/{name}.png")
        file.writestr("top/images.csv", "\n".join(["file,x0,y0,x1,y1", *rows]))
    return str(root / "set.zip")


def coco(root: Path, rows: tuple[str, ...]) -> str:
    marked = []
    for i, row in enumerate(rows):
        x0, y0, x1, y1 = map(float, row.split(",")[1:])
        picture(root / "val2017" / f"{'ab'[i]}.png")
        marked.append({"image_id": i, "category_id": 1, "iscrowd": 0, "bbox": [x0, y0, x1 - x0, y1 - y0]})
    images = [{"id": i, "file_name": f"{name}.png", "width": 8, "height": 6} for i, name in enumerate("ab")]
    table = {"images": images, "categories": [{"id": 1, "name": "x"}], "annotations": marked}
    text(root / "annotations" / "instances_val2017.json", json.dumps(table))
    return f"coco:{root}"


@pytest.mark.parametrize("kind", [folder, archive, coco])
def test_shares_are_said(kind: Kind, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    data = read_data(kind(tmp_path, SHARES))
    assert len(data[0].boxes) == 1 and len(recwarn) == 1
    assert "in shares of width and height" in str(recwarn.pop().message)


@pytest.mark.parametrize("kind", [folder, archive, coco])
def test_small_boxes_and_none_are_not(kind: Kind, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    read_data(kind(tmp_path, PIXELS))
    read_data(folder(tmp_path / "none", ()))
    assert not recwarn
