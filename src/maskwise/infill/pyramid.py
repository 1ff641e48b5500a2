"""The smooth part of a fill: averages of what is known, over ever larger surroundings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RELAXATIONS = 6  # per level; measured: 20 are hardly better


def smooth_fill(images: Tensor, valid: Tensor, colour: Tensor) -> Tensor:
    """Pictures (N,C,H,W); missing pixels are means of the known ones around them.

    Down a pyramid each pixel is the mean of four weighted by how known they are, min(1, sum) known itself; up again
    each level is laid, as far as it is known, over the enlarged coarser one, and the missing pixels are a few times
    replaced by the mean of their surroundings, towards the harmonic fill, the membrane held at the hole's border.

    Args:
        images: (N,C,H,W).
        valid: (N,1,H,W) in [0,1], 1 = known.
        colour: (1,C,1,1), for a picture of which nothing is known.

    Example:
        >>> red = torch.tensor([1.0, 0, 0]).reshape(1, 3, 1, 1).expand(1, 3, 6, 6)
        >>> valid = torch.ones(1, 1, 6, 6)
        >>> valid[..., 1:5, 1:5] = 0
        >>> bool((smooth_fill(red * valid, valid, torch.zeros(1, 3, 1, 1)) == red).all())
        True
    """
    levels = [(images, valid)]
    while max(images.shape[-2:]) > 1:
        weights = F.avg_pool2d(valid, 2, ceil_mode=True)
        sums = F.avg_pool2d(images * valid, 2, ceil_mode=True)
        images = sums / torch.where(weights > 0, weights, 1.0)
        valid = (4 * weights).clamp(max=1)
        levels.append((images, valid))
    fill = colour.expand(len(images), -1, 1, 1)
    for images, valid in reversed(levels):
        fill = F.interpolate(fill, images.shape[-2:], mode="bilinear", align_corners=False)
        fill = torch.lerp(fill, images, valid)
        for _ in range(RELAXATIONS):
            around = F.avg_pool2d(F.pad(fill, (1, 1, 1, 1), mode="replicate"), 3, 1)
            fill = torch.lerp(around, images, valid)
    return fill
