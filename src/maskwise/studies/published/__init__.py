"""The papers' tables as CSV files, and their reader."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from importlib import resources

from maskwise.studies.estimate import Estimate


@dataclass(frozen=True)
class Printed:
    """A table as a paper prints it.

    Attributes:
        source: paper and table.
        notes: what is to be known about it.
        columns: names.
        numbers: by row and column; empty cells are missing.
    """

    source: str
    notes: tuple[str, ...]
    columns: tuple[str, ...]
    numbers: dict[tuple[str, str], float]

    def __getitem__(self, place: tuple[str, str]) -> Estimate:
        try:
            return Estimate.of([self.numbers[place]])
        except KeyError:
            raise KeyError(" / ".join(place)) from None

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.numbers))


def printed(name: str) -> Printed:
    """The packaged table ``name``: comment lines (source, then notes), a line of columns, a line a row.

    Example:
        >>> printed("casm_table1")["CASM", "LE"].value
        36.1
    """
    text = (resources.files(__name__) / f"{name}.csv").read_text(encoding="utf-8")
    comments = [line.lstrip("# ") for line in text.splitlines() if line.startswith("#")]
    header, *lines = csv.reader(line for line in text.splitlines() if line and not line.startswith("#"))
    numbers = {
        (line[0], column): float(value)
        for line in lines
        for column, value in zip(header[1:], line[1:], strict=True)
        if value.strip()
    }
    return Printed(comments[0], tuple(comments[1:]), tuple(header[1:]), numbers)
