"""Pictures of data sets at one size: decoded once and kept where they fit in memory, else whenever they are needed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from maskwise.checks.rows import Index, LazyRows, Values
from maskwise.core.errors import InputError
from maskwise.data import DataSet, Record
from maskwise.data.damaged import says_how_to_skip
from maskwise.images import resize, to_bytes

CACHE_GIB = 4.0
StoredPicture = tuple[DataSet, Record]
SquareOrSides = int | tuple[int, int]  # of pictures: the side of a square, or (h,w)


def sides_of(size: SquareOrSides) -> tuple[int, int]:
    """(h,w) in pixels."""
    return (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))


def as_written(size: SquareOrSides) -> int | list[int]:
    """As protocols have it, and names of files: the side of a square, or [h,w]."""
    height, width = sides_of(size)
    return height if height == width else [height, width]


class Streamed(LazyRows):
    """Pictures (N,3,h,w) uint8 that are decoded whenever they are needed.

    Args:
        items: where each one is.
        size: (h,w) in pixels that it is squashed to, or the side of a square.
    """

    def __init__(self, items: Sequence[StoredPicture], size: SquareOrSides) -> None:
        self.items, self.size = items, sides_of(size)
        self.shape = (len(items), 3, *self.size)

    def __getitem__(self, rows: Index) -> Tensor:
        chosen = [self.items[int(i)] for i in rows]
        with says_how_to_skip():
            return torch.cat([to_bytes(resize(data.image(record)[None], self.size)) for data, record in chosen])


class Squashed(LazyRows):
    """Pictures uint8 squashed to another size whenever they are needed.

    Args:
        images: these.
        size: (h,w) in pixels, or the side of a square.
    """

    def __init__(self, images: LazyRows, size: SquareOrSides) -> None:
        self.images, self.size = images, sides_of(size)
        self.shape = (len(images), 3, *self.size)

    def __getitem__(self, rows: Index) -> Tensor:
        return squashed_bytes(self.images[rows], self.size)


def squashed(images: Values, size: SquareOrSides) -> Values:
    """Pictures (N,3,H,W) uint8 squashed to (N,3,h,w), or to a square of one side."""
    if tuple(images.shape[-2:]) == sides_of(size):
        return images
    if isinstance(images, Tensor):
        return torch.cat([squashed_bytes(part, size) for part in images.split(64)])
    return Squashed(images, size)


def squashed_bytes(images: Tensor, size: SquareOrSides) -> Tensor:
    return to_bytes(resize(images.float() / 255, size))


def in_memory_if_it_fits(values: LazyRows, cache_gib: float = CACHE_GIB, part: int = 64) -> Values:
    """Pictures uint8 as a tensor where that takes up to ``cache_gib`` GiB, else as they are.

    Raises:
        InputError: a negative size.
    """
    if not cache_gib >= 0:
        raise InputError(f"the cache is 0 GiB or more, not {cache_gib}")
    if math.prod(values.shape) > cache_gib * 2**30:
        return values
    kept, done = torch.empty(values.shape, dtype=torch.uint8), 0
    for images in values.split(part):
        kept[done : done + len(images)] = images
        done += len(images)
    return kept
