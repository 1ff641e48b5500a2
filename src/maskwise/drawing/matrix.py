"""Numbers from -1 to 1 as a matrix of colours with the numbers in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

COLOURS = "RdBu"  # red is against, blue for
DARK = 0.6  # numbers beyond it are white


def draw_matrix(axis: Axes, values: np.ndarray, rows: Sequence[str], columns: Sequence[str], what: str) -> None:
    """Draws it, column names on top, a bar of colours beside it that says ``what`` the numbers are.

    Args:
        values: (rows,columns) in [-1,1]; NaN stays empty.
    """
    drawn = axis.imshow(np.ma.masked_invalid(values), cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        if not math.isnan(value):
            colour = "white" if abs(value) > DARK else "black"
            axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set_yticks(range(len(rows)), rows, fontsize=8)
    axis.set_xticks(range(len(columns)), columns, fontsize=8, rotation=40, ha="left", rotation_mode="anchor")
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    bar = axis.get_figure(root=True).colorbar(drawn, ax=axis, fraction=0.04, pad=0.02)  # type: ignore[union-attr]
    bar.set_label(what, fontsize=8)
    bar.ax.tick_params(labelsize=7)
