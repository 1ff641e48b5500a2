"""A share of pictures, and a difference of two shares, with intervals."""

from __future__ import annotations

import math

from scipy.stats import norm

from maskwise.audit.finding import Interval


def wilson(right: int, count: int, level: float = 0.95) -> Interval:
    """A share with Wilson's score interval (Wilson 1927), which stays within [0,1] for few pictures, too.

    Example:
        >>> wilson(8, 10).text()
        '0.80 [0.49, 0.94]'
    """
    if not count:
        return Interval(math.nan, math.nan, math.nan, 0)
    z = float(norm.ppf((1 + level) / 2))
    share = right / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z / (1 + z * z / count) * (share * (1 - share) / count + z * z / (4 * count * count)) ** 0.5
    # At its ends the formula gives 0 and 1 up to rounding, and "above the interval" must not hang on that.
    low, high = middle - half if right else 0.0, middle + half if right < count else 1.0
    return Interval(share, max(low, 0.0), min(high, 1.0), count)


def difference(first: tuple[int, int], second: tuple[int, int], level: float = 0.95) -> Interval:
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
    return Interval(value, low, high, first[1] + second[1])
