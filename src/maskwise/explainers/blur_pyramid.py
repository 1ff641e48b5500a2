"""A pyramid of ever weaker blurs of a picture, and the height at which each pixel is read."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.core.blur import gaussian_blur


def pyramid(images: Tensor, levels: int, strongest: float) -> Tensor:
    """(N,levels,3,H,W): blurs of sigma ``strongest * (1 - l / (levels - 1))``; the last is the picture itself."""
    return torch.stack([gaussian_blur(images, strongest * (1 - level / (levels - 1))) for level in range(levels)], 1)


def between_levels(levels: Tensor, maps: Tensor) -> Tensor:
    """Each pixel read at its own height of the pyramid, linearly between two levels.

    Args:
        levels: (N,L,3,H,W) as ``pyramid`` gives them.
        maps: (N,A,H,W) in [0,1]; 1 is the picture, 0 the strongest blur. Differentiable by these.

    Returns:
        (N,A,3,H,W).
    """
    top = levels.shape[1] - 1
    height = maps * top
    below = height.detach().floor().clamp(0, top - 1)
    share = (height - below)[:, :, None]
    index = below.nan_to_num().long()[:, :, None].expand(-1, -1, levels.shape[2], -1, -1)
    return (1 - share) * levels.gather(1, index) + share * levels.gather(1, index + 1)
