"""A few of many: positions evenly spread over a listing."""

from __future__ import annotations


def evenly_spread(count: int, limit: int | None) -> list[int]:
    """``limit`` positions evenly spread over ``count``, since listings are often sorted by class; None is all.

    Example:
        >>> evenly_spread(10, 4)
        [0, 2, 5, 7]
    """
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]
