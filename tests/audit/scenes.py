"""Pictures of a square on a background, both of which give the class away, and classifiers that read one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.labels import Labels

SIDE, SQUARE = 56, 20
RED, GREEN, BLUE, YELLOW = (220, 30, 30), (30, 220, 30), (30, 30, 220), (220, 220, 30)


def scenes(folder: Path, count: int = 48, boxes: bool = True, labels: bool = True) -> Path:
    """A data folder: red squares on blue are of class 0, green ones on yellow of class 1."""
    draws = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    box_lines, label_lines = ["file,x0,y0,x1,y1"], ["file,label"]
    for i in range(count):
        kind = i % 2
        pixels = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
        pixels[:] = (BLUE, YELLOW)[kind]
        x, y = draws.integers(0, SIDE - SQUARE, 2)
        pixels[y : y + SQUARE, x : x + SQUARE] = (RED, GREEN)[kind]
        Image.fromarray(pixels).save(folder / "images" / f"{i:03}.png")
        box_lines.append(f"{i:03}.png,{x},{y},{x + SQUARE},{y + SQUARE}")
        label_lines.append(f"{i:03}.png,{kind}")
    if boxes:
        (folder / "boxes.csv").write_text("\n".join(box_lines) + "\n")
    if labels:
        (folder / "labels.csv").write_text("\n".join(label_lines) + "\n")
    return folder


class Reader(nn.Module):
    """Three colours by a 1x1 convolution, noise channels that a last layer may learn a patch by, average, linear."""

    def __init__(self, what: str, classes: int = 4) -> None:
        super().__init__()
        self.colours = nn.Conv2d(3, 64, 1)
        self.seen = nn.ReLU()  # a layer of its own, so that a class activation is of what the last layer reads
        self.head = nn.Linear(64, classes)
        draws = torch.Generator().manual_seed(1)
        object_rows = [[1.0, -1, 0], [-1, 1, 0]]
        ground_rows = [[-1.0, 0, 1], [1, 1, -1]]
        with torch.no_grad():
            self.colours.weight.copy_(torch.randn(64, 3, 1, 1, generator=draws))
            self.colours.bias.copy_(torch.randn(64, generator=draws) * 0.3)
            rows = torch.tensor(object_rows if what == "object" else ground_rows)
            self.colours.weight[:2] = rows[:, :, None, None]
            self.colours.bias[:2] = torch.tensor([-0.2, -0.2 if what == "object" else -1.2])
            self.head.weight.zero_()
            self.head.weight[0, 0] = self.head.weight[1, 1] = 60.0
            self.head.bias.copy_(torch.tensor([0.01, 0.0] + [-3.0] * (classes - 2)))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.seen(self.colours(images)).mean((2, 3)))


def reader(what: str) -> Classifier:
    names = Labels(("red on blue", "green on yellow", "third", "fourth"))
    return Classifier(Reader(what), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=names, name=what)


def middle(images: Tensor, targets: Any = None) -> Tensor:
    """Looks at nothing: a bump in the middle of every picture."""
    across = 1 - torch.linspace(-1, 1, images.shape[-1]).abs()
    return (across[:, None] * across).expand(len(images), -1, -1).clone()


def criterion(found: Any, name: str) -> Any:
    return next(one for one in found.criteria if one.name == name)
