"""Intervals of any statistic: pictures are drawn again with replacement (percentile bootstrap)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor

from maskwise.core.connected import or_alone
from maskwise.core.errors import InputError

FEWEST_DRAWN = 8  # independent pictures, or subjects of them: intervals over fewer are too narrow
CELLS = 4_000_000  # weights held at once, so that memory grows with neither pictures nor resamples


class Statistic(Protocol):
    """A function of the sum over pictures of a vector of each, as every ``Metric`` is."""

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        """Values (r,) of sums (r,D) over so many pictures (r,)."""


class Average:
    """The mean of one number a picture."""

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return total[..., 0] / count


def interval(
    metric: Statistic,
    statistics: Tensor,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    groups: Tensor | None = None,
) -> tuple[float, float]:
    """Ends of the percentile bootstrap interval of a metric's value.

    Args:
        metric: whose ``value`` is taken of each resample.
        statistics: (N,D), what ``metric.per_image`` gave; rows with NaN are left out.
        resamples: how often N pictures are drawn with replacement.
        level: in (0,1), the share of resamples within the interval.
        seed: of the draws.
        groups: (N,) int64, where rows are not independent: those of one number, such as several of a picture or several
            pictures of a subject, are drawn together (the cluster bootstrap).

    Returns:
        (low, high) in the metric's unit; NaN where no picture is left, and of one alone: nobody knows how much another
        would differ.

    Raises:
        InputError: a level or a number of resamples that makes no sense.

    Example:
        >>> from maskwise.measures import metric
        >>> interval(metric("le"), torch.tensor([[0.0], [100.0], [100.0], [100.0]]))
        (25.0, 100.0)
    """
    known = _known(statistics)
    rows = _Rows(statistics[known])
    drawn = [rows.value(metric, weights) for weights in drawn_weights(known, groups, resamples, seed)]
    return _ends(drawn, level)


def paired(
    metric: Statistic,
    a: Tensor,
    b: Tensor,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    groups: Tensor | None = None,
) -> tuple[float, float, float]:
    """Difference a - b of two explainers on the same pictures, and its interval over the same resamples.

    Args:
        metric: whose ``value`` is taken.
        a: (N,D), statistics of one explainer.
        b: (N,D), of the other, the same pictures in the same order; those that are NaN in either are left out.
        resamples: as in ``interval``; the next two likewise.
        level: in (0,1).
        seed: of the draws.
        groups: as in ``interval``.

    Returns:
        (difference, low, high) in the metric's unit.

    Raises:
        InputError: they can't be of the same pictures; or as ``interval``.
    """
    if a.shape != b.shape:
        raise InputError(f"paired statistics must be of the same pictures, not {tuple(a.shape)} and {tuple(b.shape)}")
    known = _known(torch.cat([a, b], 1))
    first, second = _Rows(a[known]), _Rows(b[known])
    once = torch.ones(1, int(known.sum()), dtype=torch.float64)
    difference = first.value(metric, once) - second.value(metric, once)
    draws = drawn_weights(known, groups, resamples, seed)
    drawn = [first.value(metric, weights) - second.value(metric, weights) for weights in draws]
    return (float(difference), *_ends(drawn, level))


def resampled(metric: Statistic, statistics: Tensor, groups: Tensor, resamples: int = 2000, seed: int = 0) -> Tensor:
    """The value in each resample, (resamples,), float64: what estimates that are added and subtracted are made of.

    Args:
        metric, statistics, resamples, seed: as in ``interval``.
        groups: (N,) int64, the group of each row, 0 to G-1. All G are drawn, those whose rows say nothing, too, so that
            draws of the same pictures are the same for every caller.

    Returns:
        NaN where nothing that was drawn says anything; of fewer than two groups no draw at all, (0,).
    """
    known = _known(statistics)
    rows, of_row = _Rows(statistics[known]), groups[known]
    there = int(groups.max()) + 1 if len(groups) else 0
    draws = _draws(there if there > 1 else 0, resamples, seed)
    return torch.cat([rows.value(metric, weights[:, of_row]) for weights in draws] or [torch.zeros(0)])


def drawn_weights(known: Tensor, groups: Tensor | None, resamples: int, seed: int) -> Iterator[Tensor]:
    """How often each known row is drawn, (r,n) float64, some resamples at a time; none of fewer than two.

    Args:
        known: (N,) bool, rows that say something; n of them.
        groups, resamples, seed: as in ``interval``.
    """
    names, of_row = or_alone(groups, len(known))[known].unique(return_inverse=True)
    for weights in _draws(len(names) if len(names) > 1 else 0, resamples, seed):
        yield weights if groups is None else weights[:, of_row]


class _Rows:
    """Statistics (N,D) of pictures, most of whose columns may be zero: those are not multiplied."""

    def __init__(self, rows: Tensor) -> None:
        rows = rows.detach().cpu().double()
        self.width = rows.shape[1]
        self.used = (rows != 0).any(0)
        self.rows = rows[:, self.used].contiguous()

    def value(self, metric: Statistic, weights: Tensor) -> Tensor:
        """(r,) of weights (r,N)."""
        total = weights.new_zeros(len(weights), self.width)
        total[:, self.used] = weights @ self.rows
        return metric.value(total, weights.sum(1))


def _known(statistics: Tensor) -> Tensor:
    """(N,) bool, on the CPU: rows that say something."""
    return ~statistics.detach().isnan().any(1).cpu()


def _draws(groups: int, resamples: int, seed: int) -> Iterable[Tensor]:
    """How often each group was drawn, (r,G), some resamples at a time."""
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, not {resamples}")
    if not groups:
        return ()
    if groups * resamples <= CELLS:
        return _kept(groups, resamples, seed)
    return _drawn(groups, resamples, seed)


@lru_cache(maxsize=2)
def _kept(groups: int, resamples: int, seed: int) -> tuple[Tensor, ...]:
    """A leaderboard asks for the same draws for every metric and method."""
    return tuple(_drawn(groups, resamples, seed))


def _drawn(groups: int, resamples: int, seed: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    step = max(CELLS // groups, 1)
    for first in range(0, resamples, step):
        drawn = torch.randint(groups, (min(step, resamples - first), groups), generator=generator)
        ones = torch.ones(1, dtype=torch.float64).expand_as(drawn)
        yield torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(1, drawn, ones)


def _ends(drawn: list[Tensor], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise InputError(f"level lies between 0 and 1, and is {level}")
    if not drawn:
        return torch.nan, torch.nan
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.nanquantile(torch.cat(drawn), tails).tolist()
    return low, high
