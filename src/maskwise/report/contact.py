"""The contact sheet: one picture, many methods side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from maskwise.core.files import atomic_write
from maskwise.drawing import overlay
from maskwise.images import to_uint8


@dataclass(frozen=True)
class Tile:
    """One method's map (H,W) of the picture, its name, and a line beneath it."""

    name: str
    map: Tensor
    note: str = ""


def contact_sheet(image: Tensor, tiles: Sequence[Tile], path: str | Path, columns: int = 7, cell: float = 1.9) -> None:
    """A PNG of the picture (3,H,W) and, one beside the other, each map laid over it.

    Args:
        columns: tiles in a row.
        cell: inches of a tile's width.
    """
    height, width = image.shape[-2:]
    rows = math.ceil((len(tiles) + 1) / columns)
    figure = Figure(figsize=(columns * cell, rows * (cell * height / width + 0.42)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        axis.axis("off")
    pictures = [to_uint8(image), *(overlay(image, tile.map) for tile in tiles)]
    captions = ["the picture", *(f"{tile.name}\n{tile.note}".strip() for tile in tiles)]
    for axis, picture, caption in zip(axes, pictures, captions, strict=False):
        axis.imshow(picture)
        axis.set_title(caption, fontsize=8, parse_math=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")
