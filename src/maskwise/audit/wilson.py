"""A share of pictures with its interval."""

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
