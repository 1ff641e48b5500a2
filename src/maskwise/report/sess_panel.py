"""What SESS fused: every kept patch with its map and score, and where it lies (Tursun et al. 2022, Fig. 11)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from maskwise.drawing import heat_scale, overlay, save_figure
from maskwise.drawing.colour_bar import draw_colour_bar
from maskwise.images import to_uint8
from maskwise.report.figure import shrunk
from maskwise.sess.view import View


def sess_panel(
    image: Tensor,
    fused: Tensor,
    views: Sequence[View],
    path: str | Path,
    cell: float = 1.25,
    display: str = "auto",
    dpi: float = 100,
) -> None:
    """The picture with the patches' boxes and the fused map on the left, all patches on the right.

    A patch's frame and its box have the same colour, which says its scale; beside its number stands its score.

    Args:
        image: (3,H,W).
        fused: (H,W) in [0,1].
        views: the best first, as ``SESS.views`` gives them.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        cell: inches of a patch.
        display: how the fused map's values become colours, see ``maskwise.drawing.heat_scale``; each patch's own
            map is drawn from 0 to 1.
        dpi: dots an inch.
    """
    columns = min(max(math.ceil(math.sqrt(1.6 * len(views))), 4), 16)
    rows = max(math.ceil(len(views) / columns), 3)
    side = rows * cell * 0.62
    figure = Figure(figsize=(columns * cell + max(side, 3.2), rows * (cell + 0.2)), layout="constrained")
    FigureCanvasAgg(figure)
    parts: Any = figure.subfigures(1, 2, width_ratios=[max(side, 3.2), columns * cell])
    left, right = parts
    palette = colormaps["turbo"]
    top = max((view.scale for view in views), default=0) or 1
    colours = [palette(0.08 + 0.84 * view.scale / top) for view in views]
    above, below = left.subplots(2, 1)
    height, width = image.shape[-2:]
    extent = (0, width, height, 0)
    above.imshow(to_uint8(shrunk(image)), extent=extent)
    for number, (view, colour) in reversed(list(enumerate(zip(views, colours, strict=True), 1))):
        x0, y0, x1, y1 = view.box
        above.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=colour, linewidth=1.2))
        if len(views) <= 24:
            above.annotate(
                str(number), (x0, y0), (2, -2), textcoords="offset points", va="top", color=colour, fontsize=7
            )
    above.set_title(f"{len(views)} patches", fontsize=9)
    scale = heat_scale(fused, display)
    below.imshow(overlay(shrunk(image), shrunk(fused), scale=scale), extent=extent)
    draw_colour_bar(below, scale)
    below.set_title("fused", fontsize=9)
    grid = right.subplots(rows, columns, squeeze=False).flatten()
    for axis in (above, below, *grid):
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in grid[len(views) :]:
        axis.axis("off")
    for number, (axis, view, colour) in enumerate(zip(grid, views, colours, strict=False), 1):
        _patch(axis, view, colour, number)
    save_figure(figure, path, dpi)


def _patch(axis: Axes, view: View, colour: tuple[float, float, float, float], number: int) -> None:
    axis.imshow(overlay(view.image, view.map))
    axis.set_title(f"{number}: {view.score:.2g}", fontsize=7, pad=2)
    for spine in axis.spines.values():
        spine.set_edgecolor(colour)
        spine.set_linewidth(2)
