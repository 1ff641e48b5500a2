"""A measured number with what is known of its error, and arithmetic that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from maskwise.core.nan import none_for_nan

LEVEL = 0.95
Over = Literal["pictures", "seeds"]


@dataclass(frozen=True, eq=False)
class Number:
    """A value of one seed, with draws on resampled pictures (R,) or an interval from elsewhere.

    Attributes:
        value: NaN where the data know nothing of it.
        draws: may be empty.
        bounds: instead of draws; NaN where nothing is known of the error.
        over: what the bounds are over.
    """

    value: float
    draws: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bounds: tuple[float, float] | None = None
    over: Over = "pictures"


@dataclass(frozen=True, eq=False)
class Estimate:
    """One number, measured once or by several seeds.

    With several seeds the 95% interval is Student's, over seeds. With one it is the percentile bootstrap over pictures,
    and its draws are kept: two estimates on the same pictures were drawn alike, so that their difference is paired.

    Attributes:
        points: (S,) float64, one value a seed.
        draws: (S,R) float64, values on resampled pictures; R may be 0.
        bounds: an interval that came from elsewhere, where there are no draws.
        over: what the bounds are over.
        which: the seed of each point; None of what has none, as a method that is not trained.

    Example:
        >>> casm, baseline = Estimate.of([36.0, 36.2, 36.1]), Estimate.of([53.4, 53.5, 53.6])
        >>> difference = casm - baseline
        >>> round(difference.value, 2), difference.interval()[1] < -10
        (-17.4, True)
    """

    points: np.ndarray
    draws: np.ndarray
    bounds: tuple[float, float] | None = None
    over: Over = "pictures"
    which: tuple[int, ...] | None = None

    @classmethod
    def of(
        cls,
        points: Sequence[float],
        draws: np.ndarray | None = None,
        bounds: tuple[float, float] | None = None,
        over: Over = "pictures",
        which: Sequence[int] | None = None,
    ) -> Estimate:
        values = np.asarray(points, dtype=np.float64)
        drawn = np.zeros((len(values), 0)) if draws is None else np.asarray(draws, np.float64)
        return cls(values, drawn, bounds, over, None if which is None else tuple(which))

    @property
    def value(self) -> float:
        return float(self.points.mean())

    @property
    def seeds(self) -> int:
        return len(self.points)

    @property
    def basis(self) -> str:
        """What the interval is over: ``seeds``, ``pictures``, or ``none`` where nothing is known."""
        if self.seeds > 1:
            return "seeds"
        if self.bounds is not None:
            return self.over
        return "pictures" if self.draws.shape[1] else "none"

    def interval(self) -> tuple[float, float]:
        """Ends of the 95% interval; NaN where nothing is known of the error."""
        if self.seeds > 1:
            from scipy.stats import t as student  # a second that pages without seeds do without

            half = float(student.ppf((1 + LEVEL) / 2, self.seeds - 1) * self.points.std(ddof=1) / self.seeds**0.5)
            return self.value - half, self.value + half
        if self.bounds is not None:
            return self.bounds
        if not self.draws.shape[1] or not np.isfinite(self.draws).any():
            return float("nan"), float("nan")
        low, high = np.nanquantile(self.draws[0], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return float(low), float(high)

    def __sub__(self, other: Estimate) -> Estimate:
        """Seed by seed and draw by draw; what has no counterpart in the other is left out. NaN where nothing has."""
        which, (mine, theirs) = _side_by_side((self, other))
        if not mine:
            return Estimate.of([float("nan")])
        points = self.points[mine] - other.points[theirs]
        if self.draws.shape[1] == other.draws.shape[1] != 0:
            return Estimate.of(points.tolist(), self.draws[mine] - other.draws[theirs], which=which)
        if "none" in (self.basis, other.basis) or len(mine) > 1:
            return Estimate.of(points.tolist(), which=which)
        (low, high), (their_low, their_high) = self.interval(), other.interval()
        # Nothing is paired: the widest.
        return Estimate.of(points.tolist(), None, (low - their_high, high - their_low), self.over, which)

    def plain(self) -> dict[str, Any]:
        """Value, interval, and what it is over, as JSON holds it."""
        low, high = self.interval()
        numbers = none_for_nan({"value": self.value, "low": low, "high": high})
        return {**numbers, "over": self.basis, "seeds": self.seeds}


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several, seed by seed and draw by draw; where nothing is paired with the mean of their ends."""
    which, places = _side_by_side(estimates)
    if not places[0]:
        return Estimate.of([float("nan")])
    points = np.mean([e.points[own] for e, own in zip(estimates, places, strict=True)], 0).tolist()
    widths = {e.draws.shape[1] for e in estimates}
    if len(widths) == 1 and widths != {0}:
        draws = np.mean([e.draws[own] for e, own in zip(estimates, places, strict=True)], 0)
        return Estimate.of(points, draws, which=which)
    if len(points) > 1 or any(e.basis == "none" for e in estimates):
        return Estimate.of(points, which=which)
    low, high = np.mean([e.interval() for e in estimates], 0).tolist()
    return Estimate.of(points, None, (low, high), estimates[0].over, which)


def _side_by_side(estimates: Sequence[Estimate]) -> tuple[tuple[int, ...] | None, list[list[int]]]:
    """The seeds that all of them have, and where each has them; of those without seeds of their own the first ones."""
    named = [e.which for e in estimates if e.which is not None]
    fewest = min((e.seeds for e in estimates if e.which is None), default=None)
    if not named:
        return None, [list(range(fewest or 0))] * len(estimates)
    shared = tuple(seed for seed in named[0] if all(seed in which for which in named))[:fewest]
    places = list(range(len(shared)))
    return shared, [places if e.which is None else [e.which.index(seed) for seed in shared] for e in estimates]


def median(estimate: Estimate) -> Estimate:
    """The median over seeds as one number, its interval over resampled seeds (Phang et al. 5.4 report medians)."""
    if estimate.seeds == 1:
        return estimate
    drawn = np.random.default_rng(0).integers(0, estimate.seeds, (2000, estimate.seeds))
    return Estimate.of([float(np.median(estimate.points))], np.median(estimate.points[drawn], 1)[None])
