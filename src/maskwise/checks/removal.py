"""Which pixels are taken away, and what stands in their place (Hooker et al. 2019)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from maskwise.checks.rows import Index, LazyRows, Values
from maskwise.checks.streamed import SquareOrSides, sides_of
from maskwise.core.errors import InputError
from maskwise.core.most_salient import most_salient


def removed(images: Tensor, maps: Tensor, percent: float, colour: Tensor) -> Tensor:
    """Images (N,3,H,W) uint8 with the most salient ``percent`` of pixels by maps (N,H,W) painted over.

    Args:
        images: as they are.
        maps: saliency at the same size.
        percent: see ``most_salient``.
        colour: (3,) in [0,1].
    """
    if maps.shape != (len(images), *images.shape[-2:]):
        raise InputError(f"maps of pictures {tuple(images.shape)} must fit them, and are {tuple(maps.shape)}")
    paint = (colour * 255).round().to(torch.uint8)[:, None, None]
    return torch.where(most_salient(maps, percent)[:, None], paint, images)


def random_maps(count: int, size: SquareOrSides, *key: int) -> Tensor:
    """Maps (count,h,w) of independent noise, all drawn from ``key``: removal at random."""
    seed = int(np.random.SeedSequence(key).generate_state(1)[0])
    return torch.rand(count, *sides_of(size), generator=torch.Generator().manual_seed(seed))


class Noise(LazyRows):
    """The same for more pictures than are drawn at once: each one's map has a generator of its own."""

    def __init__(self, count: int, size: SquareOrSides, *key: int) -> None:
        self.size, self.key = sides_of(size), key
        self.shape = (count, *self.size)

    def __getitem__(self, rows: Index) -> Tensor:
        return torch.cat([random_maps(1, self.size, *self.key, int(i)) for i in rows])


class Removed(LazyRows):
    """Images (N,3,H,W) uint8 without their most salient pixels, painted over whenever they are read.

    Args:
        images, maps, percent, colour: see ``removed``.
    """

    def __init__(self, images: Values, maps: Values, percent: float, colour: Tensor) -> None:
        self.shape = tuple(images.shape)
        self.images, self.maps, self.percent, self.colour = images, maps, percent, colour

    def __getitem__(self, rows: Index) -> Tensor:
        return removed(self.images[rows], self.maps[rows], self.percent, self.colour)
