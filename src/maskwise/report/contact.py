"""The contact sheet: one picture, many methods side by side."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from maskwise.drawing import heat_scale, overlay, save_figure
from maskwise.drawing.bare import bare
from maskwise.drawing.colour_bar import draw_colour_bar
from maskwise.images import to_uint8


@dataclass(frozen=True)
class Tile:
    """One method's map (H,W) of the picture, its name, and a line beneath it."""

    name: str
    map: Tensor
    note: str = ""


def contact_sheet(
    image: Tensor,
    tiles: Sequence[Tile],
    path: str | Path,
    columns: int = 7,
    cell: float = 1.9,
    display: str = "auto",
    dpi: float = 100,
) -> None:
    """The picture (3,H,W) and, one beside the other, each map laid over it with its colour bar.

    Args:
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        columns: tiles in a row.
        cell: inches of a tile's width.
        display: how values become colours, see ``maskwise.drawing.heat_scale``.
        dpi: dots an inch.

    Raises:
        InputError: another ending, an unknown ``display``, or it can't be written.
    """
    height, width = image.shape[-2:]
    rows = math.ceil((len(tiles) + 1) / columns)
    figure = Figure(figsize=(columns * cell, rows * (cell * height / width + 0.62)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    for axis in axes:
        bare(axis)
    scales = [heat_scale(tile.map, display) for tile in tiles]
    coloured = [overlay(image, tile.map, scale=scale) for tile, scale in zip(tiles, scales, strict=True)]
    captions = ["the picture", *(f"{tile.name}\n{tile.note}".strip() for tile in tiles)]
    for axis, picture, caption in zip(axes, [to_uint8(image), *coloured], captions, strict=False):
        axis.imshow(picture)
        axis.set_title(caption, fontsize=8, parse_math=False)
    for axis, scale in zip(axes[1:], scales, strict=False):
        draw_colour_bar(axis, scale, fontsize=6)
    save_figure(figure, path, dpi)
