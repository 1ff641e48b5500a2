"""Pictures of a study's table: dots or lines beside the printed numbers."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from maskwise.drawing import save_figure
from maskwise.drawing.marks import style_of
from maskwise.studies.table import DrawFigure, ResultTable

OURS, THEIRS = "#2a6f97", "#c1666b"
WIDE = 56  # characters of an axis' name on a line


def dots(*columns: str) -> DrawFigure:
    """A dot a row with its 95% interval, one axis a column; a diamond is the printed number.

    A column that no row has a number in is left out, as it is in the table: printed numbers alone compare nothing.
    """

    def draw(table: ResultTable, path: Path, dpi: float = 110) -> None:
        shown = [column for column in columns if column in table.measured] or columns
        rows = [table.label(row) for row in table.rows]
        names = 0.075 * max(map(len, rows))
        figure = blank(4.2 * len(shown) + names + 0.6, 0.28 * len(rows) + 1.7)
        axes = figure.subplots(1, len(shown), squeeze=False, sharey=True)[0]
        for axis, column in zip(axes, shown, strict=True):
            _dots(axis, table, column)
        axes[0].set_yticks(range(len(rows)), rows, fontsize=8)
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        handles, labels = axes[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        save_figure(figure, path, dpi)

    return draw


def _dots(axis: Axes, table: ResultTable, column: str) -> None:
    rows, printed = table.rows, table.printed
    there = [(i, table.numbers[row, column]) for i, row in enumerate(rows) if (row, column) in table.numbers]
    known = [(i, number) for i, number in there if not math.isnan(number.value)]
    values = [number.value for _, number in known]
    errors = np.array([reach(*number.interval(), number.value) for _, number in known]).reshape(-1, 2).T
    axis.errorbar(
        values,
        [i for i, _ in known],
        xerr=errors,
        fmt="o",
        ms=5,
        color=OURS,
        elinewidth=1.2,
        label="here, with 95% interval",
    )
    if printed is not None:
        theirs = [(i, printed.numbers[row, column]) for i, row in enumerate(rows) if (row, column) in printed.numbers]
        if theirs:
            places, values_there = zip(*theirs, strict=True)
            axis.plot(values_there, places, "D", color=THEIRS, ms=5, alpha=0.8, label="printed in the paper", zorder=1)
    if known and min(values) > 0 and max(values) / min(values) > 100:
        axis.set_xscale("log")
    axis.set_title(column, fontsize=10)
    axis.set_xlabel(said(table, column), fontsize=8)
    plain(axis)
    axis.grid(alpha=0.25)


def lines(column: str, across: str | Mapping[str, str] = "", groups: str = "") -> DrawFigure:
    """A line for each group of rows over the number that ends their names; the first word is the axis.

    Args:
        column: the number shown.
        across: what the numbers at the ends count; by axis, where that differs.
        groups: what the lines are.
    """

    def draw(table: ResultTable, path: Path, dpi: float = 110) -> None:
        panels: dict[str, dict[str, list[tuple[float, str]]]] = {}  # by axis and line, x and row
        for row in table.rows:
            found = re.fullmatch(r"(\S+) (.*?)([\d.]+)", row)
            if found and not math.isnan(table.numbers[row, column].value):
                axis, line, x = found.groups()
                panels.setdefault(axis, {}).setdefault(line, []).append((float(x), row))
        figure = blank(4.6 * max(len(panels), 1), 3.8)
        axes = figure.subplots(1, max(len(panels), 1), squeeze=False, sharey=True)[0]
        for axis, (title, curves) in zip(axes, panels.items(), strict=False):
            for number, (line, places) in enumerate(curves.items()):
                _line(axis, table, column, line, sorted(places), number)
            axis.set_title(title, fontsize=10)
            widest = [x for places in curves.values() for x, _ in places]
            if min(widest) > 0 and max(widest) / min(widest) > 20:
                axis.set_xscale("log")
                axis.set_xticks(sorted(set(widest)), [f"{x:g}" for x in sorted(set(widest))])
                axis.xaxis.set_minor_locator(NullLocator())
            if len(curves) > 1:
                axis.legend(fontsize=8, frameon=False, title=groups or None, title_fontsize=8)
            axis.set_xlabel(across if isinstance(across, str) else across.get(title, ""), fontsize=9)
            plain(axis)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel(said(table, column), fontsize=9)
        save_figure(figure, path, dpi)

    return draw


def _line(axis: Axes, table: ResultTable, column: str, name: str, places: list[tuple[float, str]], number: int) -> None:
    numbers = [table.numbers[row, column] for _, row in places]
    ends = np.array([found.interval() for found in numbers])
    x = [at for at, _ in places]
    (drawn,) = axis.plot(
        x, [found.value for found in numbers], ms=4, label=name.strip("x ") or None, **style_of(number)
    )
    if len(x) > 1:
        axis.fill_between(x, ends[:, 0], ends[:, 1], alpha=0.15, color=drawn.get_color(), linewidth=0)
    else:  # a band of no width is not seen
        axis.vlines(x, ends[:, 0], ends[:, 1], color=drawn.get_color(), alpha=0.4)


def reach(low: float, high: float, value: float) -> tuple[float, float]:
    """How far an interval reaches below and above; nothing where there is none."""
    return (0.0, 0.0) if math.isnan(low) else (max(value - low, 0), max(high - value, 0))


def blank(width: float, height: float) -> Figure:
    """A figure of that many inches."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def plain(axis: Axes) -> None:
    """No lines but the axes."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def said(table: ResultTable, column: str) -> str:
    """What a column holds, in lines that an axis has room for."""
    return "\n".join(textwrap.wrap(table.axes.get(column, column), WIDE))
