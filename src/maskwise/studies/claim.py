"""What a paper claims of its table, judged by numbers and their intervals: it holds, does not hold, or is undecided."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from maskwise.studies.estimate import Estimate

Verdict = Literal["holds", "does not hold", "undecided"]


class Table(Protocol):
    """Numbers by row and column; a missing one raises ``KeyError``."""

    def __getitem__(self, place: tuple[str, str]) -> Estimate: ...


@dataclass(frozen=True)
class Condition:
    """One number that must lie in a range for a claim to hold.

    Attributes:
        what: such as ``LE of CASM - LE of Baseline``.
        number: measured.
        low, high: the open range.
    """

    what: str
    number: Estimate
    low: float = -math.inf
    high: float = math.inf

    @property
    def verdict(self) -> Verdict:
        """By the whole interval; by the bare number where there is no interval (a printed table)."""
        low, high = self.number.interval()
        if math.isnan(self.number.value):
            return "undecided"
        if self.number.basis == "none":
            low = high = self.number.value
        if math.isnan(low) or math.isnan(high):
            return "undecided"
        if self.low < low and high < self.high:
            return "holds"
        return "does not hold" if high <= self.low or low >= self.high else "undecided"


@dataclass(frozen=True)
class Claim:
    """A sentence of a paper and what its numbers must be.

    Attributes:
        text: the sentence, shortened.
        parts: from a table to the numbers that decide; all of them must be in their range.
    """

    text: str
    parts: Callable[[Table], Sequence[Condition]]


@dataclass(frozen=True)
class ClaimResult:
    """A claim that was looked at.

    Attributes:
        parts: of a number that is missing the value is NaN, and so it decides nothing.
        missing: rows and columns that the claim asks for and the table does not have.
    """

    text: str
    verdict: Verdict
    parts: Sequence[Condition]
    missing: Sequence[str] = ()

    def plain(self) -> dict[str, Any]:
        parts = [
            {"what": p.what, **p.number.plain(), "verdict": p.verdict,
             "must_be_above": None if math.isinf(p.low) else p.low,
             "must_be_below": None if math.isinf(p.high) else p.high}
            for p in self.parts
        ]  # fmt: skip
        return {"claim": self.text, "verdict": self.verdict, "parts": parts, "missing": list(self.missing)}


class _WithGaps:
    """A table in which what is missing is NaN, and noted."""

    def __init__(self, table: Table) -> None:
        self.table, self.missing = table, dict[str, None]()

    def __getitem__(self, place: tuple[str, str]) -> Estimate:
        try:
            return self.table[place]
        except KeyError as error:
            self.missing[str(error.args[0])] = None
            return Estimate.of([math.nan])


def judge(claim: Claim, table: Table) -> ClaimResult:
    """One part that does not hold refutes the claim, whatever is missing; all must hold for it to hold."""
    gaps = _WithGaps(table)
    parts = list(claim.parts(gaps))
    verdicts = {part.verdict for part in parts}
    worst: Verdict = "holds" if verdicts == {"holds"} else "undecided"
    return ClaimResult(
        claim.text, "does not hold" if "does not hold" in verdicts else worst, parts, tuple(gaps.missing)
    )


def below(table: Table, column: str, row: str, than: str, by: float = 0.0) -> Condition:
    """``row`` lies more than ``by`` below ``than``; with a negative ``by``, at most so much above."""
    return Condition(f"{column} of {row} - {than}", table[row, column] - table[than, column], high=-by)


def alike(table: Table, column: str, row: str, other: str, within: float) -> Condition:
    """The two differ by less than ``within``."""
    return Condition(f"{column} of {row} - {other}", table[row, column] - table[other, column], -within, within)
