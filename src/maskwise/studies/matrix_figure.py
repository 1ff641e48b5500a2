"""A table as a matrix of colours with the numbers in it: rows by columns, from -1 to 1."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from maskwise.drawing import save_figure
from maskwise.studies.figures import blank
from maskwise.studies.table import DrawFigure, ResultTable

COLOURS = "RdBu"  # red is against, blue for
DARK = 0.6  # numbers beyond it are white


def matrix(what: str) -> DrawFigure:
    """A cell a number; ``what`` says what the numbers are."""

    def draw(table: ResultTable, path: Path, dpi: float = 110) -> None:
        rows = table.rows
        columns = list(dict.fromkeys(column for _, column in table.numbers))
        values = np.array([[_value(table, row, column) for column in columns] for row in rows])
        labels = [table.label(row) for row in rows]
        figure = blank(0.78 * len(columns) + 0.075 * max(map(len, labels)) + 1.6, 0.27 * len(rows) + 2.0)
        axis = figure.subplots()
        drawn = axis.imshow(np.ma.masked_invalid(values), cmap=COLOURS, vmin=-1, vmax=1, aspect="auto")
        for (y, x), value in np.ndenumerate(values):
            if not math.isnan(value):
                colour = "white" if abs(value) > DARK else "black"
                axis.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=colour)
        axis.set_yticks(range(len(rows)), labels, fontsize=8)
        axis.set_xticks(range(len(columns)), columns, fontsize=8, rotation=40, ha="left", rotation_mode="anchor")
        axis.xaxis.tick_top()
        axis.tick_params(length=0)
        figure.colorbar(drawn, ax=axis, fraction=0.04, pad=0.02).set_label(what, fontsize=8)
        save_figure(figure, path, dpi)

    return draw


def _value(table: ResultTable, row: str, column: str) -> float:
    found = table.numbers.get((row, column))
    return math.nan if found is None else found.value
