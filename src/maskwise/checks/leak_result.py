"""What the leak check finds, as plain records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from maskwise.checks.intervals import MeanInterval
from maskwise.core.bootstrap import FEWEST_DRAWN

Judge = Literal["own", "robust"]
ShownPart = Literal["in", "out"]
LeakAnswer = Literal["leaks", "suspected", "undecided", "none found"]
OWN, SQUARE, BLOBS = "the mask", "centre square", "random blobs"
SAME, OTHER = "mask of another picture of the class", "mask of a picture of another class"
CONTROLS = (SQUARE, BLOBS)
LEAK_WORDS: dict[LeakAnswer, str] = {
    "leaks": "the masks tell their own judge the class by their shape",
    "suspected": "their own judge gains by these masks what the pixels do not explain, but not by their class",
    "undecided": "the interval holds the bound, or is of too few pictures: more would tell",
    "none found": "their own judge reads no more in the masks than the robust judge does",
}


@dataclass(frozen=True)
class LeakRow:
    """How one judge answers for pictures under one kind of mask.

    Attributes:
        method: its name.
        masks: the method's own, a control of the same area, or another picture's.
        kept: ``in``: what the mask keeps is shown; ``out``: what it leaves.
        judge: ``own``: whom the masks were made for; ``robust``: who has seen random holes only.
        accuracy: in [0,1].
        cross_entropy: in nats.
    """

    method: str
    masks: str
    kept: ShownPart
    judge: Judge
    accuracy: MeanInterval
    cross_entropy: MeanInterval

    def plain(self) -> dict[str, Any]:
        facts = {key: getattr(self, key) for key in ("method", "masks", "kept", "judge")}
        return {**facts, "accuracy": self.accuracy.plain(), "cross_entropy": self.cross_entropy.plain()}


@dataclass(frozen=True)
class LeakSummary:
    """Does one method leak?

    Attributes:
        method: its name.
        area: mean share of the picture that is kept, in [0,1].
        gaps: by control: its own judge's accuracy less the robust one's, masked in, less the same of the control.
        borrowed: what the own judge loses more than the robust one when another picture's mask is of another class
            rather than of the same.
        probe: accuracy of a network that sees the masks alone; None where none could be trained.
        over_boxes: that less the accuracy of the same network on the objects' boxes; None where there are no boxes.
        answer: in one word, and ``LEAK_WORDS`` says it in a sentence.
    """

    method: str
    area: float
    gaps: Mapping[str, MeanInterval]
    borrowed: MeanInterval
    probe: MeanInterval | None
    over_boxes: MeanInterval | None
    answer: LeakAnswer

    @property
    def gap(self) -> MeanInterval:
        """The smaller one of both controls: a leak shows against each."""
        return min(self.gaps.values(), key=lambda gap: gap.mean)

    def plain(self) -> dict[str, Any]:
        made = asdict(self)
        made["gaps"] = {name: gap.plain() for name, gap in self.gaps.items()}
        for key in ("borrowed", "probe", "over_boxes"):
            value = getattr(self, key)
            made[key] = None if value is None else value.plain()
        return made


@dataclass(frozen=True)
class LeakResult:
    """Everything the check found.

    Attributes:
        rows: one a method, kind of mask, side and judge.
        summaries: one a method.
        boxes: accuracy of the probe on the objects' boxes, or None.
        protocol: how the numbers came about.
    """

    rows: list[LeakRow]
    summaries: list[LeakSummary]
    boxes: MeanInterval | None
    protocol: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "summaries": [one.plain() for one in self.summaries],
            "rows": [row.plain() for row in self.rows],
            "boxes": None if self.boxes is None else self.boxes.plain(),
            "protocol": self.protocol,
        }


def answer_of(
    gaps: Mapping[str, MeanInterval], borrowed: MeanInterval, bound: float, independent: int = FEWEST_DRAWN
) -> LeakAnswer:
    """A leak is a gap beyond the bound against each control, and a class that the own judge reads in the outline.

    A judge that has merely got used to such masks has the gap, too; but it does not follow another picture's mask.
    Where the whole interval against one control is below the bound no leak was found, whatever the other says.

    Args:
        gaps: by control.
        borrowed: see ``LeakSummary``.
        bound: of the gaps.
        independent: pictures, or subjects of them; of fewer than ``FEWEST_DRAWN`` intervals are too narrow to decide.
    """
    if independent < FEWEST_DRAWN:
        return "undecided"
    if any(gap.high <= bound for gap in gaps.values()):
        return "none found"
    if not all(gap.low > bound for gap in gaps.values()):
        return "undecided"
    return "leaks" if borrowed.low > 0 else "suspected"


def deciding(gaps: Mapping[str, MeanInterval], bound: float) -> MeanInterval:
    """The gap that the answer hangs on: one wholly below the bound, or else the one that reaches the lowest."""
    lowest = min(gaps.values(), key=lambda gap: gap.high)
    return lowest if lowest.high <= bound else min(gaps.values(), key=lambda gap: gap.low)
