"""Pictures with two findings, each there or not by itself, and networks that read the one or a mark beside it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from audit.scenes import SIDE, Reader
from PIL import Image

from maskwise.classifiers import Classifier

SPOT, MARK = 16, 12
NAMES = ("mass", "pneumonia", "edema")  # of which edema is never shown
GROUND, RED, GREEN, WHITE = (40, 40, 60), (220, 30, 30), (30, 220, 30), (255, 255, 255)


def lungs(folder: Path, count: int = 96, marked: bool = True, table: bool = True) -> Path:
    """A data folder: a red square is a mass, a green one is pneumonia, and a picture may have both or none.

    Args:
        folder: to be made.
        count: of pictures.
        marked: most pictures with pneumonia, and hardly any others, have a white mark, never on a square.
        table: write ``findings.csv``; else boxes alone tell.
    """
    draws = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    boxes, findings = ["file,x0,y0,x1,y1,class"], ["file,Mass,Pneumonia,Edema,age"]
    for i in range(count):
        pixels = np.empty((SIDE, SIDE, 3), dtype=np.uint8)
        pixels[:] = GROUND
        pixels += draws.integers(0, 12, pixels.shape, dtype=np.uint8)
        name, free = f"{i:03}.png", [(0, 0), (0, 28), (28, 0), (28, 28)]
        draws.shuffle(free)
        shown = (i % 2 == 0, i % 4 < 2)
        for kind, colour in ((0, RED), (1, GREEN)):
            if shown[kind]:
                y, x = (corner + int(draws.integers(0, 28 - SPOT)) for corner in free.pop())
                pixels[y : y + SPOT, x : x + SPOT] = colour
                boxes.append(f"{name},{x},{y},{x + SPOT},{y + SPOT},{NAMES[kind]}")
        if marked and (i % 12 != 1 if shown[1] else i % 24 == 3):
            y, x = (corner + int(draws.integers(0, 28 - MARK)) for corner in free.pop())
            pixels[y : y + MARK, x : x + MARK] = WHITE
        Image.fromarray(pixels).save(folder / "images" / name)
        findings.append(f"{name},{int(shown[0])},{int(shown[1])},0.0,{20 + i % 50}")
    (folder / "boxes.csv").write_text("\n".join(boxes) + "\n")
    if table:
        (folder / "findings.csv").write_text("\n".join(findings) + "\n")
    return folder


def lung_network(what: str = "finding") -> Classifier:
    """Says mass by red; and pneumonia by green (``finding``) or by white, whatever else there is (``mark``)."""
    module = Reader("object", classes=3)
    with torch.no_grad():
        module.colours.weight[0] = torch.tensor([1.0, -1, -0.5])[:, None, None]  # red, and not white
        module.colours.weight[1] = torch.tensor([-1.0, 1, -0.5])[:, None, None]  # green
        module.colours.bias[:2] = -0.2
        if what == "mark":
            module.colours.weight[1] = 1.0
            module.colours.bias[1] = -2.4  # more than any colour but white
        module.head.weight.zero_()
        module.head.weight[0, 0] = 300.0
        module.head.weight[1, 1] = 300.0 if what == "finding" else 600.0
        module.head.bias.copy_(torch.tensor([-3.0, -3.0, -6.0]))
    return Classifier(
        module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=NAMES, name=what, activation="sigmoid"
    )
