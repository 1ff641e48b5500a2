"""Insertion and deletion curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.drawing import save_figure
from maskwise.drawing.marks import style_of
from maskwise.measures.perturbation import area_under

Curves = Mapping[str, Tensor]


def curve_figure(curves: Curves, path: str | Path, mode: str = "insertion", dpi: float = 110) -> None:
    """Each name's mean curve; a band of 1.96 standard errors where it is of several pictures.

    Args:
        curves: (N,steps+1) by name, as ``Insertion.curves`` gives them.
        path: ends in .png, .pdf, .svg or .jpg; written atomically.
        mode: insertion or deletion, for the axis.
        dpi: dots an inch.

    Raises:
        InputError: nothing to draw, or another ending.
    """
    _write({mode: curves}, path, dpi)


def insertion_deletion_figure(insertion: Curves, deletion: Curves, path: str | Path, dpi: float = 110) -> None:
    """Both side by side; arguments as ``curve_figure``."""
    _write({"insertion": insertion, "deletion": deletion}, path, dpi)


def _write(panels: Mapping[str, Curves], path: str | Path, dpi: float) -> None:
    for mode, curves in panels.items():
        if not curves or any(c.ndim != 2 or not len(c) or c.shape[1] < 2 for c in curves.values()):
            raise InputError(f"{mode}: there must be curves (N,steps+1) of at least one picture and one step")
    figure = Figure(figsize=(5.2 * len(panels), 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axis, (mode, curves) in zip(axes, panels.items(), strict=True):
        _draw(axis, mode, curves)
    axes[0].set_ylabel("probability of the class, 0 to 1")
    save_figure(figure, path, dpi)


def _draw(axis: Axes, mode: str, curves: Curves) -> None:
    for number, (name, found) in enumerate(curves.items()):
        points = found.detach().cpu().double()
        share = torch.linspace(0, 100, points.shape[1]).numpy()
        mean = points.mean(0)
        area = 100 * float(area_under(mean[None]))
        every = max(len(share) // 6, 1)  # so many marks that they tell the lines apart, and no more
        marks: dict[str, Any] = {"markevery": (number % every, every), "markersize": 4, "linewidth": 1.5}
        (line,) = axis.plot(share, mean.numpy(), label=f"{name}  {area:.1f}", **style_of(number), **marks)
        if len(points) > 1:
            error = 1.96 * points.std(0) / len(points) ** 0.5
            low, high = (mean - error).clamp(min=0).numpy(), (mean + error).clamp(max=1).numpy()
            axis.fill_between(share, low, high, color=line.get_color(), alpha=0.18, linewidth=0)
    better = "higher" if mode == "insertion" else "lower"
    axis.set_title(f"{mode}: a {better} area is better", fontsize=11)
    axis.set_xlabel("pixels inserted, %" if mode == "insertion" else "pixels deleted, %")
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 1)
    axis.spines[["top", "right"]].set_visible(False)
    legend = axis.legend(title="method, area under the curve in %", frameon=False, fontsize=8, title_fontsize=8)
    for text in legend.get_texts():
        text.set_parse_math(False)  # a dollar in a name is a dollar
