"""A study's table as figures and claims read it: numbers by row and column, and those of the paper beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from maskwise.studies.estimate import Estimate
from maskwise.studies.published import Printed


@dataclass
class ResultTable:
    """Measured numbers beside printed ones.

    Attributes:
        numbers: by row and column, over all seeds that are there.
        printed: the paper's table; None where there is none.
        labels: what a row is, by row, where its own name is a mere letter.
        axes: what a column holds, by column: the measure, its unit, which way is better.
    """

    numbers: dict[tuple[str, str], Estimate] = field(default_factory=dict, kw_only=True)
    printed: Printed | None = field(default=None, kw_only=True)
    labels: dict[str, str] = field(default_factory=dict, kw_only=True)
    axes: dict[str, str] = field(default_factory=dict, kw_only=True)

    def __getitem__(self, row_and_column: tuple[str, str]) -> Estimate:
        try:
            return self.numbers[row_and_column]
        except KeyError:
            raise KeyError(" / ".join(row_and_column)) from None

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.numbers))

    @property
    def measured(self) -> set[str]:
        """Columns that some row has a number in."""
        return {column for (_, column), number in self.numbers.items() if not math.isnan(number.value)}

    def label(self, row: str) -> str:
        """The row's name for who does not know the table."""
        return self.labels.get(row, row)


DrawFigure = Callable[[ResultTable, Path, float], None]  # into a file, as its name ends, with so many dots an inch
