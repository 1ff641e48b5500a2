"""Scales and pre-filter from what one is ready to spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from maskwise.core.errors import InputError

RATIOS = (0.0, 0.5, 0.9, 0.99)  # the paper's pre-filter ratios; up to 0.5 costs nothing measurable (section 4.4)
ENOUGH = 10  # scales that the paper's own measurements use


@dataclass(frozen=True)
class MapCost:
    """Of one patch, in any unit: its score, its map where the score is known, and both at once."""

    score: float
    map: float
    both: float

    def of(self, patches: int, prefilter: float) -> float:
        """Of a picture with so many patches; its own top class costs one more score."""
        if prefilter == 0 or self.both <= self.score:
            return self.score + patches * self.both
        return self.score + patches * self.score + (patches - int(patches * prefilter)) * self.map


def parse_budget(budget: int | float | str) -> tuple[float, str]:
    """(200, "forwards") of 200, (1.5, "seconds") of "1.5s".

    Raises:
        InputError: neither of these, or not above zero.
    """
    text = str(budget).strip()
    unit = "seconds" if text.endswith("s") else "forwards"
    try:
        amount = float(text.removesuffix("s"))
    except ValueError:
        amount = 0.0
    if not 0 < amount < inf:
        raise InputError(f"budget is a number of forwards a picture, or seconds such as '1.5s', not {budget!r}")
    return amount, unit


def choose(budget: float, cost: MapCost, patches: Sequence[int]) -> tuple[int, float]:
    """(scales, prefilter) that cost at most ``budget``.

    The least pre-filtering that leaves room for the paper's ten scales or more; where there is none, as many scales
    as there is room for. At least one scale, whatever it costs.

    Args:
        budget: in the cost's unit.
        patches: (n,) of a picture with 1, 2, … n scales.
    """
    best = (1, RATIOS[0])
    for ratio in RATIOS:
        room = [n for n, count in enumerate(patches, 1) if cost.of(count, ratio) <= budget]
        if room and room[-1] >= min(ENOUGH, len(patches)):
            return room[-1], ratio
        if room and room[-1] > best[0]:
            best = (room[-1], ratio)
    return best
