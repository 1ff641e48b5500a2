"""The drawings of an audit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from maskwise.audit.finding import Interval
from maskwise.drawing import save_figure
from maskwise.drawing.bare import bare

BLUE, RED, GREY = "#4477aa", "#bb5566", "#999999"


def reliability_figure(count: Tensor, shares: Sequence[Interval | None], path: Path) -> None:
    """Accuracy in bins of confidence, with Wilson's intervals, and below how many pictures are in each.

    Args:
        count: (B,), pictures in each of B bins of equal width in [0,1].
        shares: of each bin, how many of them are right; None where there are none.
        path: a .png.
    """
    bins = len(count)
    middle = (torch.arange(bins) + 0.5) / bins
    figure, grid = sheet(2, 1, (5.2, 4.6), sharex=True, height_ratios=(3, 1))
    above, below = grid[:, 0]
    there = [b for b, one in enumerate(shares) if one is not None]
    found = [one for one in shares if one is not None]
    whiskers(above, middle[there].tolist(), found, 0.9 / bins, "right, with 95% interval")
    above.plot([0, 1], [0, 1], "--", color=RED, label="as it should be")
    above.set(ylabel="accuracy", ylim=(0, 1.02), xlim=(0, 1))
    above.legend(loc="upper left", frameon=False, fontsize=8)
    below.bar(middle, count, 0.9 / bins, color=GREY)
    below.set(xlabel="confidence: probability of the class that is said", ylabel="pictures")
    save_figure(figure, path)


def confusion_figure(maps: Sequence[tuple[str, Tensor]], path: Path) -> None:
    """Mean maps (h,w) under their titles, on one scale."""
    columns = min(len(maps), 4)
    lines = -(-len(maps) // columns)
    figure, grid = sheet(lines, columns, (2.4 * columns + 0.8, 2.6 * lines))
    for axis in grid.flat:
        bare(axis)
    for axis, (title, saliency) in zip(grid.flat, maps, strict=False):
        shown = axis.imshow(saliency, cmap="inferno", vmin=0, vmax=1, interpolation="bilinear")
        axis.set_title(title, fontsize=8)
    figure.colorbar(shown, ax=grid[:, -1].tolist(), shrink=0.7, pad=0.02 * columns, label="mean map, 0 to 1")
    save_figure(figure, path)


def estimates_figure(
    found: Sequence[tuple[str, Interval]], path: Path, label: str, mark: tuple[float, str] | None
) -> None:
    """A line for each name: its value with the interval, and a dashed line at a mark.

    Args:
        found: names and estimates, top to bottom.
        path: a .png.
        label: what is measured, and its unit.
        mark: where the line is, and what it says; such as 1.0, "chance".
    """
    figure, grid = sheet(1, 1, (6.4, 1.5 + 0.28 * len(found)))
    axis = grid[0, 0]
    places = np.arange(len(found))[::-1]
    values = [one.value for _, one in found]
    ends = np.array([[one.value - one.low for _, one in found], [one.high - one.value for _, one in found]])
    ends = np.nan_to_num(ends).clip(min=0)
    axis.errorbar(values, places, xerr=ends, fmt="o", color=BLUE, capsize=2, linewidth=1.2, markersize=4)
    axis.set_yticks(places, [name for name, _ in found], fontsize=8)
    axis.set(xlabel=label, ylim=(-0.6, len(found) - 0.4))
    ends_there = [end for _, one in found for end in (one.value, one.low, one.high) if end == end]  # or NaN
    marks = [0.0 if mark is None else mark[0], *ends_there]
    least, most = min(0.0, *marks), max(marks)
    margin = 0.05 * ((most - least) or 1.0)
    axis.set_xlim(least - margin * (least < 0), most + margin)
    if mark is not None:
        axis.axvline(mark[0], linestyle="--", color=RED, linewidth=1)
        axis.text(mark[0], len(found) - 0.37, mark[1], color=RED, fontsize=8, ha="center", va="bottom")
    save_figure(figure, path)


def pictures_figure(lines: Sequence[Sequence[tuple[str, Tensor]]], path: Path) -> None:
    """Lines of cells, each with a title: pictures (3,H,W), maps (H,W) in [0,1], or differences (1,H,W) in [-1,1]."""
    columns = max(map(len, lines))
    figure, grid = sheet(len(lines), columns, (2.1 * columns + 1.6, 2.35 * len(lines)))
    kinds: dict[int, Any] = {}
    for axes, cells in zip(grid, lines, strict=True):
        for axis in axes:
            bare(axis)
        for axis, (title, values) in zip(axes, cells, strict=False):
            axis.set_title(title, fontsize=8)
            if values.ndim == 3 and len(values) == 3:
                axis.imshow(values.permute(1, 2, 0).clamp(0, 1))
            elif values.ndim == 3:
                kinds[1] = axis.imshow(values[0], cmap="RdBu_r", vmin=-1, vmax=1)
            else:
                kinds[0] = axis.imshow(values, cmap="inferno", vmin=0, vmax=1)
    for kind, shown in sorted(kinds.items()):
        label = ("map, 0 to 1", "difference: red for what was said, blue for the truth")[kind]
        shrink, pad = min(1.0, 2.5 / len(lines)), 0.015 * columns
        # A layout measures a bar once for each of its axes: beside the last column that is once a line.
        bar = figure.colorbar(shown, ax=grid[:, -1].tolist(), shrink=shrink, pad=pad, aspect=30)
        bar.set_label(label, fontsize=8)
    save_figure(figure, path)


def whiskers(axis: Axes, at: Sequence[float], found: Sequence[Interval], width: float, label: str) -> None:
    """Bars with intervals."""
    values = [one.value for one in found]
    ends = np.array([[one.value - one.low for one in found], [one.high - one.value for one in found]]).clip(min=0)
    axis.bar(at, values, width, color=BLUE, label=label)
    axis.errorbar(at, values, ends, fmt="none", color="#222222", capsize=2, linewidth=1)


def sheet(
    rows: int,
    columns: int,
    size: tuple[float, float],
    sharex: bool = False,
    height_ratios: Sequence[float] | None = None,
) -> tuple[Figure, np.ndarray]:
    """A figure of ``size`` inches, and its axes (rows,columns)."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(rows, columns, squeeze=False, sharex=sharex, height_ratios=height_ratios)
