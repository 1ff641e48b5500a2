"""A table as a matrix of colours with the numbers in it: rows by columns, from -1 to 1."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from maskwise.drawing import save_figure
from maskwise.drawing.matrix import draw_matrix
from maskwise.studies.figures import blank
from maskwise.studies.table import DrawFigure, ResultTable


def matrix(what: str) -> DrawFigure:
    """A cell a number; ``what`` says what the numbers are."""

    def draw(table: ResultTable, path: Path, dpi: float = 110) -> None:
        rows = table.rows
        columns = list(dict.fromkeys(column for _, column in table.numbers))
        values = np.array([[_value(table, row, column) for column in columns] for row in rows])
        labels = [table.label(row) for row in rows]
        figure = blank(0.78 * len(columns) + 0.075 * max(map(len, labels)) + 1.6, 0.27 * len(rows) + 2.0)
        draw_matrix(figure.subplots(), values, labels, columns, what)
        save_figure(figure, path, dpi)

    return draw


def _value(table: ResultTable, row: str, column: str) -> float:
    found = table.numbers.get((row, column))
    return math.nan if found is None else found.value
