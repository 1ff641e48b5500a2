"""Scales and windows: what SESS looks at (Tursun et al. 2022, Algorithm 1, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


class Window(NamedTuple):
    """The square at row ``y`` and column ``x`` of the picture in its ``scale``-th size."""

    scale: int
    y: int
    x: int


def scaled_sizes(size: Size, sides: Sequence[int]) -> list[Size]:
    """(h,w) of a picture of ``size`` (H,W) whose shorter side becomes each of ``sides``, aspect kept.

    The longer side is cut to whole pixels, as torchvision's Resize does.

    Example:
        >>> scaled_sizes((100, 150), [224, 288])
        [(224, 336), (288, 432)]
    """
    height, width = size
    if height <= width:
        return [(side, int(side * width / height)) for side in sides]
    return [(int(side * height / width), side) for side in sides]


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one axis; the last one is pulled back to lie inside.

    Example:
        >>> starts(512, 224, 224)
        [0, 224, 288]
    """
    regular = list(range(0, length - window + 1, stride))
    return regular if regular[-1] + window == length else [*regular, length - window]


def tiling(sizes: Sequence[Size], window: int, stride: int) -> list[Window]:
    """All windows of all scales, scale by scale and row by row.

    Example:
        >>> len(tiling(scaled_sizes((224, 224), range(224, 929, 64)), 224, 224))
        122
    """
    return [
        Window(scale, y, x)
        for scale, (height, width) in enumerate(sizes)
        for y in starts(height, window, stride)
        for x in starts(width, window, stride)
    ]


def multi_scale(images: Tensor, size: Size, antialias: bool) -> Tensor:
    """Images (N,3,H,W) at another size, bilinear, in [0,1]."""
    if tuple(images.shape[-2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=antialias)
        images = images.clamp(0, 1)
    return images


def frame(window: Window, side: int, sizes: Sequence[Size], size: Size) -> tuple[float, float, float, float]:
    """(x0,y0,x1,y1) of a window of ``side`` in the pixels of the picture itself, of ``size`` (H,W)."""
    height, width = sizes[window.scale]
    down, across = size[0] / height, size[1] / width
    return window.x * across, window.y * down, (window.x + side) * across, (window.y + side) * down


def parents(sizes: Sequence[Size], tiles: Sequence[Window], side: int) -> Tensor:
    """(P,): for each window the one of the next smaller scale that covers most of it; -1 in the smallest scale."""
    scale = torch.tensor([tile.scale for tile in tiles])
    frames = torch.tensor([frame(tile, side, sizes, (1, 1)) for tile in tiles], dtype=torch.float64)
    found = torch.full((len(tiles),), -1)
    for i in range(1, len(sizes)):
        here, above = (scale == i).nonzero()[:, 0], (scale == i - 1).nonzero()[:, 0]
        low = torch.maximum(frames[here, None, :2], frames[None, above, :2])
        high = torch.minimum(frames[here, None, 2:], frames[None, above, 2:])
        found[here] = above[(high - low).clamp(min=0).prod(-1).argmax(1)]
    return found
