"""What each row of a study's table is worth beside a few that everybody knows, paired over pictures and seeds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from maskwise.studies.estimate import Estimate
from maskwise.studies.protocol import SECONDS
from maskwise.studies.run import Outcome


@dataclass(frozen=True)
class RowDifference:
    """A row less another in one column.

    Attributes:
        row, than, column: of the table.
        number: the paired difference.
        lower: is less better in this column?
    """

    row: str
    than: str
    column: str
    number: Estimate
    lower: bool

    @property
    def verdict(self) -> Literal["better", "worse", "undecided"]:
        """By the whole interval."""
        low, high = self.number.interval()
        if low > 0 or high < 0:
            return "better" if (high < 0) == self.lower else "worse"
        return "undecided"

    def plain(self) -> dict[str, Any]:
        return {
            "row": self.row, "than": self.than, "column": self.column, **self.number.plain(), "verdict": self.verdict
        }  # fmt: skip


def row_differences(outcome: Outcome) -> dict[str, list[RowDifference]]:
    """Of all rows from each that ``Study.against`` names and that is there, by its name.

    Columns in which neither more nor less is better are left out, and so are seconds, which other work changes.
    """
    judged = [(c.name, c.lower) for c in outcome.study.columns if c.lower is not None and c.metric != SECONDS]
    found: dict[str, list[RowDifference]] = {}
    for than in outcome.study.against:
        for row in outcome.rows:
            for column, lower in judged:
                pair = outcome.numbers.get((row, column)), outcome.numbers.get((than, column))
                if row == than or pair[0] is None or pair[1] is None:
                    continue
                number = pair[0] - pair[1]
                if not math.isnan(number.value):
                    found.setdefault(than, []).append(RowDifference(row, than, column, number, lower))
    return found
