"""Masks that know nothing of the picture, of the very area of those that are checked."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.core.keyed import keyed_generator
from maskwise.infill.holes import GRID, smooth_noise


def above_mean(maps: Tensor) -> Tensor:
    """Where maps (N,H,W) exceed their own mean, (N,H,W) bool; a flat map keeps nothing."""
    # In float32 the mean of equal numbers may be a last bit below them, and then all would be kept.
    return maps > maps.double().mean((1, 2), keepdim=True)


def centre_squares(keeps: Tensor) -> Tensor:
    """As many pixels as each of keeps (N,H,W) bool has, those nearest to the middle by the larger of both distances.

    Of the last ring, which may be broken, those come first that reading comes to first.

    Example:
        >>> centre_squares(torch.tensor([[[True, True, True], [False, False, True], [False, True, False]]])).int()
        tensor([[[1, 1, 1],
                 [1, 1, 0],
                 [0, 0, 0]]], dtype=torch.int32)
    """
    height, width = keeps.shape[1:]
    down, across = ((torch.arange(n) - (n - 1) / 2).abs() for n in (height, width))
    return _first(torch.maximum(down[:, None], across).expand(len(keeps), -1, -1), keeps)


def random_blobs(keeps: Tensor, images: Tensor, seed: int) -> Tensor:
    """As many pixels as each of keeps (N,H,W) bool has, where smooth noise is highest.

    Args:
        keeps: what is kept.
        images: (N,C,H,W) in [0,1]; seed and picture draw the noise, whatever batch they come in.
        seed: of the noise.
    """
    noise, size = [], (keeps.shape[-2], keeps.shape[-1])
    for image in images:
        draws = keyed_generator(image, seed)
        cells = int(torch.randint(GRID[0], GRID[1] + 1, (1,), generator=draws))
        noise.append(smooth_noise(cells, size, draws)[0])
    return _first(-torch.stack(noise), keeps)


def _first(order: Tensor, keeps: Tensor) -> Tensor:
    """The pixels of lowest ``order`` (N,H,W), as many as are kept of each picture."""
    rank = order.flatten(1).argsort(dim=1, stable=True).argsort(dim=1)
    return (rank < keeps.flatten(1).sum(1, keepdim=True)).view_as(keeps)
