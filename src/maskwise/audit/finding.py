"""What an audit finds: numbers with intervals, and criteria that hold or fail."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from maskwise.core.bootstrap import FEWEST_DRAWN
from maskwise.core.nan import nan_for_none, none_for_nan
from maskwise.core.text import how_many

ROUNDING = 1e-6


@dataclass(frozen=True)
class Interval:
    """A number, and the ends of its 95% interval; NaN where there is nothing to say.

    Attributes:
        value: the number.
        low, high: the ends.
        count: pictures.
        subjects: how many subjects these are of, where those are known: pictures of one are taken as alike.
    """

    value: float
    low: float
    high: float
    count: int
    subjects: int | None = None

    def plain(self) -> dict[str, float | int | None]:
        """As plain data, where None stands for NaN, which JSON does not have."""
        found = {key: value for key, value in asdict(self).items() if key != "subjects" or value is not None}
        return none_for_nan(found)

    @classmethod
    def of_plain(cls, found: Mapping[str, Any]) -> Interval:
        """From what ``plain`` gave, maybe by way of a file.

        Example:
            >>> Interval.of_plain(Interval(0.5, math.nan, math.nan, 1).plain()).ends()
            '-'
        """
        return cls(**nan_for_none(found))

    def times(self, factor: float) -> Interval:
        return replace(self, value=self.value * factor, low=self.low * factor, high=self.high * factor)

    @property
    def too_few(self) -> bool:
        """Are these fewer than decide anything?"""
        return (self.count if self.subjects is None else self.subjects) < FEWEST_DRAWN

    def ends(self, form: str = ".2f") -> str:
        """The interval as a cell of a table says it.

        Example:
            >>> Interval(0.5, 0.4, 0.61, 9).ends("+.1f"), Interval(0.5, math.nan, math.nan, 1).ends()
            ('+0.4 to +0.6', '-')
        """
        return "-" if math.isnan(self.low) else f"{self.low:{form}} to {self.high:{form}}"

    def text(self, digits: int = 2, unit: str = "") -> str:
        """As a sentence says it.

        Example:
            >>> Interval(0.512, 0.4, 0.61, 100).text(), Interval(51.2, 40, 61, 100).text(0, "%")
            ('0.51 [0.40, 0.61]', '51% [40, 61]')
            >>> Interval(-0.002, -0.3, 12, 9).text(0)
            '0 [0, 12]'
            >>> Interval(0.5, math.nan, math.nan, 1).text()  # of one picture there is none
            '0.50 [-, -]'
        """
        if math.isnan(self.value):
            return "unknown"
        if math.isnan(self.low):
            return f"{self.value:.{digits}f}{unit} [-, -]"
        value, low, high = (round(each, digits) + 0.0 for each in (self.value, self.low, self.high))  # no "-0"
        return f"{value:.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"


def stays_below(found: Interval, bound: float) -> bool | None:
    """Does the figure keep to the bound by its whole interval, or go beyond it by its whole interval?

    None: the bound lies within the interval, there is nothing to say, or fewer than ``FEWEST_DRAWN`` pictures or
    subjects say it, whose bootstrap intervals are too narrow.

    Example:
        >>> at = [Interval(0.2, 0.1, 0.3, 50), Interval(0.2, 0.1, 0.3, 3)]
        >>> [stays_below(at[0], bound) for bound in (0.4, 0.2, 0.05)], stays_below(at[1], 0.4)
        ([True, None, False], None)
    """
    if found.too_few or math.isnan(found.value):
        return None
    return True if found.high <= bound + ROUNDING else False if found.low > bound + ROUNDING else None


def stays_above(found: Interval, bound: float) -> bool | None:
    """The same of a figure that must be above a bound; at the bound, where a map is that is flat, it is not.

    Example:
        >>> [stays_above(Interval(1.2, low, high, 50), 1) for low, high in ((1.1, 1.3), (1, 1.4), (0.5, 0.9))]
        [True, None, False]
    """
    if found.too_few or math.isnan(found.value):
        return None
    return True if found.low > bound + ROUNDING else False if found.high < bound - ROUNDING else None


def too_few(found: Interval) -> str:
    """What a figure adds where it is of too few pictures, or subjects, to decide anything; nothing else."""
    if not found.too_few:
        return ""
    of = how_many(found.count, "picture") if found.subjects is None else how_many(found.subjects, "subject")
    return f"; of {of} only, and fewer than {FEWEST_DRAWN} decide nothing"


@dataclass(frozen=True)
class Criterion:
    """One question of the audit.

    Attributes:
        name: as ``fail_on`` names it.
        question: in plain words.
        holds: does it hold? None: not known, and ``figure`` says why.
        figure: the number that decides, with its interval, and the bound.
        of_explainer: is it about the explanation, rather than about the classifier?
    """

    name: str
    question: str
    holds: bool | None
    figure: str
    of_explainer: bool = False


@dataclass(frozen=True)
class Listing:
    """Rows under headings; ``note`` says what they are."""

    headings: Sequence[str]
    rows: Sequence[Sequence[str | float | None]]
    note: str = ""


@dataclass(frozen=True)
class Figure:
    """A picture file, what it shows in words, and a line beneath it."""

    path: Path
    caption: str


@dataclass(frozen=True)
class Card:
    """Small pictures under one heading, each with words of its own."""

    title: str
    cells: Sequence[Figure]
    note: str = ""


@dataclass
class Section:
    """One part of the page.

    Attributes:
        name: by which JSON and CSV call it.
        title: its heading.
        says: sentences.
        criteria: what it decides.
        tables, figures, cards: what it shows.
        numbers: everything in plain data, for JSON.
        not_done: why it was left out, or None.
    """

    name: str
    title: str
    says: list[str] = field(default_factory=list)
    criteria: list[Criterion] = field(default_factory=list)
    tables: list[Listing] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    cards: list[Card] = field(default_factory=list)
    numbers: dict[str, Any] = field(default_factory=dict)
    not_done: str | None = None
