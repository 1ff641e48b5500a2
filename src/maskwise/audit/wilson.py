"""A share of pictures, and a difference of two shares, with intervals."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import torch
from torch import Tensor

from maskwise.audit.finding import Interval


def wilson(right: float, count: float, level: float = 0.95) -> Interval:
    """A share with Wilson's score interval (Wilson 1927), which stays within [0,1] for few pictures, too.

    Example:
        >>> wilson(8, 10).text()
        '0.80 [0.49, 0.94]'
    """
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    # At its ends the formula gives 0 and 1 up to rounding, and "above the interval" must not hang on that.
    low, high = middle - half if right else 0.0, middle + half if right < count else 1.0
    return Interval(share, max(low, 0.0), min(high, 1.0), round(count))


def difference(first: tuple[float, float], second: tuple[float, float], level: float = 0.95) -> Interval:
    """The share of the first (right, count) less that of the second, other pictures, with Newcombe's hybrid score
    interval (Newcombe 1998, method 10), which has a width where both shares are 0 or 1, too.

    Example:
        >>> difference((56, 70), (48, 80)).text(4)
        '0.2000 [0.0524, 0.3339]'
    """
    a, b = wilson(*first, level), wilson(*second, level)
    value = a.value - b.value
    low = value - math.hypot(a.value - a.low, b.high - b.value)
    high = value + math.hypot(a.high - a.value, b.value - b.low)
    return Interval(value, low, high, round(first[1] + second[1]))


def independent(right: Tensor, groups: Tensor | None = None) -> tuple[float, float]:
    """(right, count) of independent trials that say as much of a share as these, of which those of one group are alike.

    The share is that of all trials. The count is p (1 - p) over its variance from one group to the next (Korn and
    Graubard 1998), n^2 / sum of m^2 at least, for groups of m trials that are all the same, and n at most. Where p is 0
    or 1 the variance tells nothing of how alike trials are, and the least is taken.

    Args:
        right: (N,) bool.
        groups: (N,) int64, the group of each trial; None is each by itself.

    Example:
        >>> right = torch.tensor([1, 1, 1, 1, 0, 0, 0, 0]).bool()
        >>> independent(right), independent(right, torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]))
        ((4.0, 8.0), (2.0, 4.0))
    """
    count, hits = float(len(right)), float(right.sum())
    if groups is None or not count:
        return hits, count
    _, group, size = groups.unique(return_inverse=True, return_counts=True)
    share, least = hits / count, count**2 / float(size.double().square().sum())
    if not 0 < share < 1 or len(size) < 2:
        return share * least, least
    off = torch.zeros(len(size), dtype=torch.float64).index_add(0, group, right.double() - share)
    variance = len(size) / (len(size) - 1) * float(off.square().sum()) / count**2
    found = min(max(share * (1 - share) / variance if variance else count, least), count)
    return share * found, found


def share_of(right: Tensor, groups: Tensor | None = None, level: float = 0.95) -> Interval:
    """The share of trials (N,) bool that are right, with Wilson's interval; arguments as of ``independent``."""
    found = wilson(*independent(right, groups), level)
    return replace(found, count=len(right), subjects=None if groups is None else len(groups.unique()))


def effective(groups: Tensor, right: Tensor) -> tuple[float, float]:
    """(right, count) of independent trials that say as much of a share as trials in groups do, whose trials are alike.

    The share is the mean over groups of each one's share. The count is p (1 - p) over that mean's variance (the
    effective sample size of Korn and Graubard 1998), at least that of the groups, and at most that of the trials. Where
    p is 0 or 1 the variance tells nothing of how alike trials are: then it is that of the groups.

    Args:
        groups: (N,) int64, the group of each trial.
        right: (N,) bool.

    Example:
        >>> effective(torch.tensor([0, 0, 1, 1, 2, 2, 3, 3]), torch.tensor([1, 0, 1, 1, 1, 0, 0, 0]).bool())
        (3.0, 6.0)
    """
    _, group, size = groups.unique(return_inverse=True, return_counts=True)
    if not len(size):
        return 0.0, 0.0
    shares = right.double().new_zeros(len(size)).index_add(0, group, right.double()) / size
    share, count = float(shares.mean()), float(len(size))
    if 0 < share < 1 and len(size) > 1:
        variance = float(shares.var()) / len(size)
        most = float(len(groups))
        count = max(count, min(most, share * (1 - share) / variance if variance else most))
    return share * count, count
