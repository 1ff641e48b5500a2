"""Pictures of a study's table: dots or lines beside the printed numbers, and error against cost."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from maskwise.core.files import atomic_write
from maskwise.studies.table import DrawFigure, ResultTable

OURS, THEIRS = "#2a6f97", "#c1666b"


def dots(*columns: str) -> DrawFigure:
    """A dot a row with its 95% interval, one axis a column; a diamond is the printed number."""

    def draw(table: ResultTable, path: Path) -> None:
        rows = table.rows
        figure = _figure(4.2 * len(columns) + 2, 0.28 * len(rows) + 1.4)
        axes = figure.subplots(1, len(columns), squeeze=False, sharey=True)[0]
        for axis, column in zip(axes, columns, strict=True):
            _dots(axis, table, column)
        axes[0].set_yticks(range(len(rows)), rows, fontsize=8)
        axes[0].set_ylim(len(rows) - 0.4, -0.6)
        handles, labels = axes[0].get_legend_handles_labels()
        if len(labels) > 1:
            figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=8, frameon=False)
        _save(figure, path)

    return draw


def _dots(axis: Axes, table: ResultTable, column: str) -> None:
    rows, printed = table.rows, table.printed
    there = [(i, table.numbers[row, column]) for i, row in enumerate(rows) if (row, column) in table.numbers]
    known = [(i, number) for i, number in there if not math.isnan(number.value)]
    values = [number.value for _, number in known]
    errors = np.array([_reach(*number.interval(), number.value) for _, number in known]).reshape(-1, 2).T
    axis.errorbar(values, [i for i, _ in known], xerr=errors, fmt="o", ms=5, color=OURS, elinewidth=1.2, label="here")
    if printed is not None:
        theirs = [(i, printed.numbers[row, column]) for i, row in enumerate(rows) if (row, column) in printed.numbers]
        if theirs:
            places, values_there = zip(*theirs, strict=True)
            axis.plot(values_there, places, "D", color=THEIRS, ms=5, alpha=0.8, label="printed", zorder=1)
    if known and min(values) > 0 and max(values) / min(values) > 100:
        axis.set_xscale("log")
    axis.set_title(column, fontsize=10)
    _plain(axis)
    axis.grid(alpha=0.25)


def lines(column: str, across: str = "", groups: str = "") -> DrawFigure:
    """A line for each group of rows over the number that ends their names; the first word is the axis.

    Args:
        column: the number shown.
        across: what the numbers at the ends count.
        groups: what the lines are.
    """

    def draw(table: ResultTable, path: Path) -> None:
        panels: dict[str, dict[str, list[tuple[float, str]]]] = {}  # by axis and line, x and row
        for row in table.rows:
            found = re.fullmatch(r"(\S+) (.*?)([\d.]+)", row)
            if found and not math.isnan(table.numbers[row, column].value):
                axis, line, x = found.groups()
                panels.setdefault(axis, {}).setdefault(line, []).append((float(x), row))
        figure = _figure(4.6 * max(len(panels), 1), 3.6)
        axes = figure.subplots(1, max(len(panels), 1), squeeze=False, sharey=True)[0]
        for axis, (title, curves) in zip(axes, panels.items(), strict=False):
            for line, places in curves.items():
                _line(axis, table, column, line, sorted(places))
            axis.set_title(title, fontsize=10)
            widest = [x for places in curves.values() for x, _ in places]
            if min(widest) > 0 and max(widest) / min(widest) > 20:
                axis.set_xscale("log")
                axis.set_xticks(sorted(set(widest)), [f"{x:g}" for x in sorted(set(widest))])
                axis.xaxis.set_minor_locator(NullLocator())
            if len(curves) > 1:
                axis.legend(fontsize=8, frameon=False, title=groups or None, title_fontsize=8)
            axis.set_xlabel(across, fontsize=9)
            _plain(axis)
            axis.grid(alpha=0.3)
        axes[0].set_ylabel(column)
        _save(figure, path)

    return draw


def _line(axis: Axes, table: ResultTable, column: str, name: str, places: list[tuple[float, str]]) -> None:
    numbers = [table.numbers[row, column] for _, row in places]
    ends = np.array([number.interval() for number in numbers])
    x = [at for at, _ in places]
    (drawn,) = axis.plot(x, [number.value for number in numbers], "o-", ms=4, label=name.strip("x "))
    if len(x) > 1:
        axis.fill_between(x, ends[:, 0], ends[:, 1], alpha=0.15, color=drawn.get_color(), linewidth=0)
    else:  # a band of no width is not seen
        axis.vlines(x, ends[:, 0], ends[:, 1], color=drawn.get_color(), alpha=0.4)


def landscape_figure(table: ResultTable, path: Path) -> None:
    """LE against milliseconds a picture, a dot with its interval for every explainer; colours are families."""
    from maskwise.explainers import methods

    figure = _figure(9.5, 6.2)
    axis = figure.subplots()
    points = []
    for row in table.rows:
        error, seconds = table.numbers[row, "LE"], table.numbers[row, "seconds"]
        if not math.isnan(error.value):
            points.append((row, 1000 * seconds.value, error))
    families = sorted({_family(row, methods) for row, _, _ in points})
    colours = dict(
        zip(
            families,
            ("#2a6f97", "#c1666b", "#4f772d", "#7b2cbf", "#e09f3e", "#555555", "#0f8b8d", "#000000"),
            strict=False,
        )
    )
    for family in families:
        chosen = [(ms, error) for row, ms, error in points if _family(row, methods) == family]
        reach = np.array([_reach(*error.interval(), error.value) for _, error in chosen]).T
        axis.errorbar([ms for ms, _ in chosen], [error.value for _, error in chosen], yerr=reach, fmt="o", ms=5,
                      color=colours[family], elinewidth=0.7, alpha=0.9, label=family)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("milliseconds a picture")
    axis.set_ylabel("localisation error, %")
    _plain(axis)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False, ncols=2)
    _labels(figure, axis, [(row, ms, error.value) for row, ms, error in points])
    _save(figure, path)


def _family(row: str, methods: object) -> str:
    from maskwise.explainers import methods as known

    return "SESS" if row.endswith("+ SESS") else str(known.facts(row)["family"])


def _labels(figure: Figure, axis: Axes, points: list[tuple[str, float, float]]) -> None:
    """Names beside the dots, each moved to the nearest spot where it lies on no dot and no other name."""
    axis.margins(0.08, 0.1)
    figure.draw_without_rendering()
    dots = [axis.transData.transform((x, y)) for _, x, y in points]
    taken = [(x - 4, y - 4, 8.0, 8.0) for x, y in dots]
    for (name, x, y), (left, middle) in sorted(zip(points, dots, strict=True), key=lambda p: p[0][2]):
        width, height = 5.2 * len(name), 11.0
        spots = [
            (left + (7 + away if right else -7 - away - width), middle - height / 2 + up)
            for away in (0, 12, 30, 60)
            for up in sorted((k * 6.0 for k in range(-14, 15)), key=abs)
            for right in (True, False)
        ]
        x0, y0 = next((s for s in spots if not any(_meet(s, width, height, t) for t in taken)), spots[0])
        taken.append((x0, y0, width, height))
        near = (x0 if x0 > left else x0 + width, y0 + height / 2)
        (tx, ty), (nx, ny) = axis.transData.inverted().transform([(x0, y0 + 2), near])
        axis.text(float(tx), float(ty), name, fontsize=6.5, color="#222222")
        if abs(near[1] - middle) > 8 or abs(near[0] - left) > 10:
            axis.plot([x, float(nx)], [y, float(ny)], color="#aaaaaa", lw=0.4, zorder=0)


def _meet(spot: tuple[float, float], width: float, height: float, other: tuple[float, float, float, float]) -> bool:
    x, y, w, h = other
    return spot[0] < x + w and x < spot[0] + width and spot[1] < y + h and y < spot[1] + height


def _reach(low: float, high: float, value: float) -> tuple[float, float]:
    """How far an interval reaches below and above; nothing where there is none."""
    return (0.0, 0.0) if math.isnan(low) else (max(value - low, 0), max(high - value, 0))


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _plain(axis: Axes) -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _save(figure: Figure, path: Path) -> None:
    with atomic_write(path) as temporary:
        figure.savefig(temporary, dpi=110, format="png")
