"""Intervals of any metric: pictures are drawn again with replacement (percentile bootstrap)."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from maskwise.errors import InputError
from maskwise.metrics.base import Metric

CELLS = 4_000_000  # weights held at once, so that memory grows with neither pictures nor resamples


def interval(
    metric: Metric, statistics: Tensor, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Ends of the percentile bootstrap interval of a metric's value.

    Args:
        metric: whose ``value`` is taken of each resample.
        statistics: (N,D), what ``metric.per_image`` gave; rows with NaN are left out.
        resamples: how often N pictures are drawn with replacement.
        level: in (0,1), the share of resamples within the interval.
        seed: of the draws.

    Returns:
        (low, high) in the metric's unit; NaN where no picture is left.

    Raises:
        InputError: a level or a number of resamples that makes no sense.

    Example:
        >>> from maskwise.metrics import metric
        >>> interval(metric("le"), torch.tensor([[0.0], [100.0], [100.0], [100.0]]))
        (25.0, 100.0)
    """
    rows = _known(statistics)
    drawn = [_value(metric, weights, rows) for weights in _draws(len(rows), resamples, seed)]
    return _ends(drawn, level)


def paired(
    metric: Metric, a: Tensor, b: Tensor, resamples: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Difference a - b of two explainers on the same pictures, and its interval over the same resamples.

    Args:
        metric: whose ``value`` is taken.
        a: (N,D), statistics of one explainer.
        b: (N,D), of the other, the same pictures in the same order; those that are NaN in either are left out.
        resamples: as in ``interval``; the next two likewise.
        level: in (0,1).
        seed: of the draws.

    Returns:
        (difference, low, high) in the metric's unit.

    Raises:
        InputError: they can't be of the same pictures; or as ``interval``.
    """
    if a.shape != b.shape:
        raise InputError(f"paired statistics must be of the same pictures, not {tuple(a.shape)} and {tuple(b.shape)}")
    first, second = _known(torch.cat([a, b], 1)).split(a.shape[1], 1)
    once = first.new_ones(1, len(first))
    difference = _value(metric, once, first) - _value(metric, once, second)
    draws = _draws(len(first), resamples, seed)
    drawn = [_value(metric, weights, first) - _value(metric, weights, second) for weights in draws]
    return (float(difference), *_ends(drawn, level))


def _known(statistics: Tensor) -> Tensor:
    rows = statistics.detach().cpu().double()
    return rows[~rows.isnan().any(1)]


def _draws(pictures: int, resamples: int, seed: int) -> Iterator[Tensor]:
    """How often each picture was drawn, (r,N), some resamples at a time."""
    if resamples < 1:
        raise InputError(f"resamples must be at least 1, not {resamples}")
    if not pictures:
        return
    generator = torch.Generator().manual_seed(seed)
    step = max(CELLS // pictures, 1)
    for first in range(0, resamples, step):
        drawn = torch.randint(pictures, (min(step, resamples - first), pictures), generator=generator)
        ones = torch.ones(1, dtype=torch.float64).expand_as(drawn)
        yield torch.zeros(drawn.shape, dtype=torch.float64).scatter_add_(1, drawn, ones)


def _value(metric: Metric, weights: Tensor, rows: Tensor) -> Tensor:
    return metric.value(weights @ rows, weights.sum(1))


def _ends(drawn: list[Tensor], level: float) -> tuple[float, float]:
    if not 0 < level < 1:
        raise InputError(f"level lies between 0 and 1, and is {level}")
    if not drawn:
        return torch.nan, torch.nan
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
    low, high = torch.nanquantile(torch.cat(drawn), tails).tolist()
    return low, high
