"""Figures: the panel of CASM's Fig. 2, and a map laid over its picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patches import Rectangle
from torch import Tensor

from maskwise.files import atomic_write
from maskwise.images import resize, to_uint8

COLUMNS = ("original", "map", "masked-in", "masked-out", "inpainted masked-out", "box")
SHAPES = (0.25, 2.0)  # height / width that a cell may have; beyond it the picture stands in a cell of that shape
LONGEST = 640  # pixels of a drawn side: more can't be seen, and large photographs would be slow


@dataclass(frozen=True)
class Row:
    """One picture of the panel: images (3,H,W), map (H,W), box (x0,y0,x1,y1), and a caption."""

    image: Tensor
    map: Tensor
    masked_in: Tensor
    masked_out: Tensor
    inpainted: Tensor
    box: tuple[int, int, int, int]
    caption: str


def overlay(image: Tensor, saliency: Tensor, strength: float = 0.55) -> np.ndarray:
    """(H,W,3) uint8: the map (H,W) in colour over the greyed picture (3,H,W)."""
    grey = image.mean(0, keepdim=True).expand(3, -1, -1)
    colours = colormaps["inferno"](saliency.cpu().numpy())[..., :3]
    mixed = (1 - strength) * to_uint8(grey) + strength * 255 * colours
    return mixed.round().astype(np.uint8)


def fig2(rows: Sequence[Row], path: str | Path, cell: float = 2.1) -> None:
    """The panel as a PNG: one row a picture, the columns of CASM's Fig. 2. Any size and aspect of picture.

    Args:
        rows: what to show.
        path: ends in .png; written atomically.
        cell: inches of a picture's width.
    """
    heights = [min(max(row.image.shape[-2] / row.image.shape[-1], SHAPES[0]), SHAPES[1]) for row in rows]
    size = (cell * len(COLUMNS), cell * sum(heights) + 0.32 * len(rows))
    figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01))
    FigureCanvasAgg(figure)
    axes = figure.subplots(len(rows), len(COLUMNS), squeeze=False, gridspec_kw={"height_ratios": heights})
    for r, row in enumerate(rows):
        height, width = row.image.shape[-2:]
        extent = (0, width, height, 0)  # so that the axes count the picture's own pixel edges, as boxes do
        pictures = (row.image, row.map, row.masked_in, row.masked_out, row.inpainted, row.image)
        for axis, picture, title in zip(axes[r], pictures, COLUMNS, strict=True):
            drawn = shrunk(picture)
            if drawn.ndim == 2:
                axis.imshow(drawn.cpu().numpy(), cmap="inferno", vmin=0, vmax=1, interpolation="nearest", extent=extent)
            else:
                axis.imshow(to_uint8(drawn), extent=extent)
            axis.set_xticks([])
            axis.set_yticks([])
            for spine in axis.spines.values():
                spine.set_visible(False)
            if r == 0:
                axis.set_title(title, fontsize=10)
        x0, y0, x1, y1 = row.box
        if x1 > x0:
            frame = Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor="#00e5a0", linewidth=2)
            axes[r, -1].add_patch(frame)
        axes[r, 0].set_xlabel(row.caption, fontsize=8, labelpad=2, parse_math=False)
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")


def shrunk(picture: Tensor) -> Tensor:
    """A picture (3,H,W) or map (H,W), shrunk to ``LONGEST`` where it is larger."""
    height, width = picture.shape[-2:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return picture
    size = (max(round(height * scale), 1), max(round(width * scale), 1))
    return resize(picture.reshape(1, -1, height, width), size).reshape(*picture.shape[:-2], *size)
