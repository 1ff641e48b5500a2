"""The size that a network works at."""

from __future__ import annotations


def working_size(size: tuple[int, int], largest: int, multiple: int = 1) -> tuple[int, int]:
    """(h,w) of the same shape, the longer side at most ``largest``, rounded to multiples.

    Example:
        >>> working_size((600, 800), 512, 8)
        (384, 512)
        >>> working_size((224, 224), 512, 8)
        (224, 224)
    """
    scale = min(1.0, largest / max(size))
    height, width = (max(round(side * scale / multiple), 1) * multiple for side in size)
    return height, width
