"""Labels are numbers among the classifier's classes; boxes in a picture may name classes by numbers of their own."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from PIL import Image
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

SIDE = 32


def in_the_corner(images: Tensor, targets: Tensor) -> Tensor:
    """Brightest at the upper left, and nothing elsewhere but for a square there."""
    maps = torch.zeros(len(images), SIDE, SIDE)
    maps[:, :8, :8] = 1
    return maps


def pictures(root: Path, label: int) -> Path:
    """Each shows a zebra at the lower right, class 0 of the boxes, and a toaster in the corner, class 2."""
    (root / "images").mkdir(parents=True)
    for i in range(3):
        Image.new("RGB", (SIDE, SIDE), (80 * i, 90, 0)).save(root / "images" / f"{i}.png")
    boxes = ("{}.png,16,16,32,32,0,zebra", "{}.png,0,0,8,8,2,toaster")
    rows = [box.format(i) for i in range(3) for box in boxes]
    (root / "boxes.csv").write_text("\n".join(["file,x0,y0,x1,y1,class,name", *rows, ""]))
    (root / "labels.csv").write_text("file,label\n" + "".join(f"{i}.png,{label}\n" for i in range(3)))
    return root


def measured(root: Path, labels: list[str] | None) -> tuple[float | None, float]:
    """The pointing game, None where no picture counts, and LE."""
    judge = Classifier(tiny_net(classes=3), input_size=SIDE, labels=labels)
    games = {"pointing": mw.metric("pointing", tolerance=None), "le": mw.metric("le")}
    board = mw.compare({"corner": in_the_corner}, str(root), judge, games, resize="none", target="label")
    hits = None if "pointing" in board.left_out else board.cell("corner", "pointing").value
    return hits, board.cell("corner", "le").value


@pytest.mark.parametrize(
    ("label", "labels", "expected"),
    [
        (2, ["goose", "zebra", "shark"], (None, 0)),  # a shark, which no box outlines; 2 among the boxes is the toaster
        (1, ["goose", "zebra", "shark"], (0, 100)),  # a zebra
        (0, ["toaster", "zebra", "shark"], (100, 0)),  # a toaster
        (2, None, (100, 0)),  # a classifier without names has the data's order
    ],
)
def test_a_label_stands_for_the_class_of_its_name(
    label: int, labels: list[str] | None, expected: tuple[float | None, float], tmp_path: Path
) -> None:
    assert measured(pictures(tmp_path, label), labels) == expected


def test_what_is_not_there_is_not_there_of_the_class_that_was_asked_for(tmp_path: Path) -> None:
    """All pictures have boxes, of others: that none has any was a riddle."""
    judge = Classifier(tiny_net(classes=3), input_size=SIDE, labels=["goose", "zebra", "shark"])
    root = str(pictures(tmp_path, 1))
    with pytest.raises(InputError, match="these metrics need boxes of shark$"):
        mw.compare({"corner": in_the_corner}, root, judge, ["le"], target="shark")
    board = mw.compare({"corner": in_the_corner}, root, judge, ["le", "area"], target="shark")
    assert board.left_out == {"le": "no picture has boxes of shark"}
    of_all = mw.compare({"corner": in_the_corner}, root, judge, ["pxap", "area"])
    assert of_all.left_out == {"pxap": "no picture has masks"}
