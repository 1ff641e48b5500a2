"""Scales and windows: what SESS looks at (Tursun et al. 2022, Algorithm 1, steps 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Size = tuple[int, int]


class Window(NamedTuple):
    """The one whose corner is at row ``y`` and column ``x`` of the picture in its ``scale``-th size."""

    scale: int
    y: int
    x: int


def scaled_sizes(size: Size, sides: Sequence[int], shape: Size = (1, 1)) -> list[Size]:
    """(h,w) of a picture of ``size`` (H,W) that just covers boxes of one shape, aspect kept.

    Of square boxes this makes each of ``sides`` the picture's shorter side. Along the other axis, where more is covered
    than is asked for, pixels are cut to whole ones, as torchvision's Resize does.

    Args:
        size: of the picture.
        sides: the shorter side of each box.
        shape: (h,w) in any unit, whose aspect is the boxes'.

    Example:
        >>> scaled_sizes((100, 150), [224, 288])
        [(224, 336), (288, 432)]
        >>> scaled_sizes((100, 100), [64], (64, 96))
        [(96, 96)]
    """
    height, width = size
    boxes = [(round(side * shape[0] / min(shape)), round(side * shape[1] / min(shape))) for side in sides]
    if height * shape[1] <= width * shape[0]:  # at least as wide as the boxes
        return [(tall, int(tall * width / height)) for tall, _ in boxes]
    return [(int(wide * height / width), wide) for _, wide in boxes]


def starts(length: int, window: int, stride: int) -> list[int]:
    """Where windows begin along one axis; the last one is pulled back to lie inside.

    Example:
        >>> starts(512, 224, 224)
        [0, 224, 288]
    """
    regular = list(range(0, length - window + 1, stride))
    return regular if regular[-1] + window == length else [*regular, length - window]


def tiling(sizes: Sequence[Size], window: Size, stride: Size) -> list[Window]:
    """All windows of (h,w) pixels of all scales, (down,across) from one to the next, scale by scale and row by row.

    Example:
        >>> len(tiling(scaled_sizes((224, 224), range(224, 929, 64)), (224, 224), (224, 224)))
        122
    """
    return [
        Window(scale, y, x)
        for scale, (height, width) in enumerate(sizes)
        for y in starts(height, window[0], stride[0])
        for x in starts(width, window[1], stride[1])
    ]


def multi_scale(images: Tensor, size: Size, antialias: bool) -> Tensor:
    """Images (N,3,H,W) at another size, bilinear, in [0,1]."""
    if tuple(images.shape[-2:]) != size:
        images = F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=antialias)
        images = images.clamp(0, 1)
    return images


def frame(window: Window, shape: Size, sizes: Sequence[Size], size: Size) -> tuple[float, float, float, float]:
    """(x0,y0,x1,y1) of a window of ``shape`` (h,w) in the pixels of the picture itself, of ``size`` (H,W)."""
    height, width = sizes[window.scale]
    down, across = size[0] / height, size[1] / width
    return window.x * across, window.y * down, (window.x + shape[1]) * across, (window.y + shape[0]) * down


def parents(sizes: Sequence[Size], tiles: Sequence[Window], shape: Size) -> Tensor:
    """(P,): for each window the one of the next smaller scale that covers most of it; -1 in the smallest scale."""
    scale = torch.tensor([tile.scale for tile in tiles])
    frames = torch.tensor([frame(tile, shape, sizes, (1, 1)) for tile in tiles], dtype=torch.float64)
    found = torch.full((len(tiles),), -1)
    for i in range(1, len(sizes)):
        here, above = (scale == i).nonzero()[:, 0], (scale == i - 1).nonzero()[:, 0]
        low = torch.maximum(frames[here, None, :2], frames[None, above, :2])
        high = torch.minimum(frames[here, None, 2:], frames[None, above, 2:])
        found[here] = above[(high - low).clamp(min=0).prod(-1).argmax(1)]
    return found
