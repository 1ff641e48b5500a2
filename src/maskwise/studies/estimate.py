"""A measured number with what is known of its error, and arithmetic that keeps it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Number:
    """A value of one seed, with draws on resampled pictures (R,) or an interval from elsewhere.

    Attributes:
        value: NaN where the data know nothing of it.
        draws: may be empty.
        bounds: instead of draws.
    """

    value: float
    draws: np.ndarray = field(default_factory=lambda: np.zeros(0))
    bounds: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Estimate:
    """One number, measured once or by several seeds.

    With several seeds the 95% interval is Student's, over seeds. With one it is the percentile bootstrap over pictures,
    and its draws are kept: two estimates on the same pictures were drawn alike, so that their difference is paired.

    Attributes:
        points: (S,) float64, one value a seed.
        draws: (S,R) float64, values on resampled pictures; R may be 0.
        bounds: an interval that came from elsewhere, where there are no draws.

    Example:
        >>> casm, baseline = Estimate.of([36.0, 36.2, 36.1]), Estimate.of([53.4, 53.5, 53.6])
        >>> difference = casm - baseline
        >>> round(difference.value, 2), difference.interval()[1] < -10
        (-17.4, True)
    """

    points: np.ndarray
    draws: np.ndarray
    bounds: tuple[float, float] | None = None

    @classmethod
    def of(
        cls, points: Sequence[float], draws: np.ndarray | None = None, bounds: tuple[float, float] | None = None
    ) -> Estimate:
        values = np.asarray(points, dtype=np.float64)
        return cls(values, np.zeros((len(values), 0)) if draws is None else np.asarray(draws, np.float64), bounds)

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
        return "pictures" if self.draws.shape[1] or self.bounds is not None else "none"

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
        """Seed by seed and draw by draw; what has no counterpart in the other is left out."""
        seeds = min(self.seeds, other.seeds)
        points = self.points[:seeds] - other.points[:seeds]
        if self.draws.shape[1] == other.draws.shape[1] != 0:
            return Estimate(points, self.draws[:seeds] - other.draws[:seeds])
        if "none" in (self.basis, other.basis) or seeds > 1:
            return Estimate.of(points)
        (low, high), (their_low, their_high) = self.interval(), other.interval()
        return Estimate.of(points, bounds=(low - their_high, high - their_low))  # nothing is paired: the widest

    def plain(self) -> dict[str, Any]:
        """Value, interval, and what it is over, as JSON holds it."""
        low, high = (None if np.isnan(end) else end for end in self.interval())
        value = None if np.isnan(self.value) else self.value
        return {"value": value, "low": low, "high": high, "over": self.basis, "seeds": self.seeds}


def mean(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several, seed by seed and draw by draw."""
    seeds = min(e.seeds for e in estimates)
    points = np.mean([e.points[:seeds] for e in estimates], 0)
    widths = {e.draws.shape[1] for e in estimates}
    draws = np.mean([e.draws[:seeds] for e in estimates], 0) if len(widths) == 1 else None
    return Estimate.of(points.tolist(), draws)


def median(estimate: Estimate) -> Estimate:
    """The median over seeds as one number, its interval over resampled seeds (Phang et al. 5.4 report medians)."""
    if estimate.seeds == 1:
        return estimate
    drawn = np.random.default_rng(0).integers(0, estimate.seeds, (2000, estimate.seeds))
    return Estimate.of([float(np.median(estimate.points))], np.median(estimate.points[drawn], 1)[None])
