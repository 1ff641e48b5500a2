"""Error against cost: numbered marks, and beside them a table of what the numbers stand for."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from maskwise.drawing import save_figure
from maskwise.drawing.marks import COLOURS, MARKS
from maskwise.studies.estimate import Estimate
from maskwise.studies.figures import blank, plain, reach, said
from maskwise.studies.table import ResultTable

SIZE = 6.5  # points of a number beside its mark


def landscape_figure(table: ResultTable, path: Path, dpi: float = 110) -> None:
    """LE against milliseconds a picture, a mark with its interval for every explainer; colours and marks are families.

    Names would lie over each other: marks have numbers, in the order of their errors, and the table has the names.
    """
    known = [row for row in table.rows if not math.isnan(table.numbers[row, "LE"].value)]  # NaN has no place in order
    points = [
        (row, 1000 * table.numbers[row, "seconds"].value, table.numbers[row, "LE"])
        for row in sorted(known, key=lambda row: table.numbers[row, "LE"].value)
    ]
    figure = blank(13, max(6.2, 0.19 * len(points) + 1.2))
    axis, aside = figure.subplots(1, 2, width_ratios=[8, 5])
    families = sorted({_family(row) for row, _, _ in points})
    style = {f: (COLOURS[i % len(COLOURS)], MARKS[i % len(MARKS)]) for i, f in enumerate(families)}
    for family in families:
        chosen = [(ms, error) for row, ms, error in points if _family(row) == family]
        ends = np.array([reach(*error.interval(), error.value) for _, error in chosen]).T
        colour, mark = style[family]
        axis.errorbar([ms for ms, _ in chosen], [error.value for _, error in chosen], yerr=ends, fmt=mark, ms=5,
                      color=colour, elinewidth=0.5, alpha=0.9, label=family)  # fmt: skip
    axis.set_xscale("log")
    axis.set_xlabel("time of a picture's map, milliseconds: lower is better", fontsize=9)
    axis.set_ylabel(f"{said(table, 'LE')}".replace("\n", " "), fontsize=9)
    plain(axis)
    axis.grid(alpha=0.25)
    axis.legend(fontsize=8, frameon=False, ncols=2, title="family of methods", title_fontsize=8)
    _table(aside, points, {row: style[_family(row)] for row, _, _ in points})
    _numbers(figure, axis, [(ms, error.value) for _, ms, error in points])
    save_figure(figure, path, dpi)


def _family(row: str) -> str:
    from maskwise.explainers import methods

    return "SESS" if row.endswith("+ SESS") else str(methods.facts(row)["family"])


def _table(axis: Axes, points: list[tuple[str, float, Estimate]], style: dict[str, tuple[str, str]]) -> None:
    """A line an explainer: number, mark, name, error with its interval, milliseconds."""
    axis.axis("off")
    axis.set(xlim=(0, 1), ylim=(len(points) + 0.5, -1.2))
    heads = ((0.05, "", "right"), (0.13, "explainer", "left"), (0.8, "error, % [95%]", "right"), (1, "ms", "right"))
    for x, head, side in heads:
        axis.text(x, -0.4, head, fontsize=8, ha=side, va="center", weight="bold")
    for line, (row, ms, error) in enumerate(points):
        low, high = error.interval()
        interval = "" if math.isnan(low) else f" [{low:.0f}, {high:.0f}]"
        texts = (str(line + 1), row, f"{error.value:.1f}{interval}", f"{ms:,.0f}" if ms >= 10 else f"{ms:.1f}")
        for (x, _, side), text in zip(heads, texts, strict=True):
            axis.text(x, line + 0.6, text, fontsize=7.5, ha=side, va="center", parse_math=False)
        colour, mark = style[row]
        axis.plot(0.09, line + 0.6, mark, color=colour, ms=4.5, clip_on=False)


def _numbers(figure: Figure, axis: Axes, points: list[tuple[float, float]]) -> None:
    """Numbers beside the marks, each at the nearest spot where it lies on no mark and no other number."""
    axis.margins(0.06, 0.08)
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    marks = [axis.transData.transform(point) for point in points]
    taken = [(x - 3.5 * scale, y - 3.5 * scale, 7.0 * scale, 7.0 * scale) for x, y in marks]
    for number, (point, (left, middle)) in enumerate(zip(points, marks, strict=True), 1):
        width, height = 0.62 * SIZE * scale * len(str(number)), SIZE * scale
        spots = [
            (left + away * math.cos(turn) - width / 2, middle + away * math.sin(turn) - height / 2)
            for away in (8 * scale, 12 * scale, 17 * scale, 24 * scale, 34 * scale, 46 * scale)
            for turn in np.linspace(math.pi / 4, 2.25 * math.pi, 16, endpoint=False)
        ]
        spot = next((s for s in spots if not any(_meet(s, width, height, other) for other in taken)), spots[0])
        taken.append((*spot, width, height))
        centre = spot[0] + width / 2, spot[1] + height / 2
        (x, y) = axis.transData.inverted().transform(centre)
        axis.text(float(x), float(y), str(number), fontsize=SIZE, ha="center", va="center", color="#111111")
        if math.dist(centre, (left, middle)) > 9 * scale:
            axis.plot([point[0], float(x)], [point[1], float(y)], color="#999999", lw=0.4, zorder=0)


def _meet(spot: tuple[float, float], width: float, height: float, other: tuple[float, float, float, float]) -> bool:
    x, y, w, h = other
    return spot[0] < x + w and x < spot[0] + width and spot[1] < y + h and y < spot[1] + height
