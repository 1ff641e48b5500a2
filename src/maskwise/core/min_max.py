"""Maps stretched to [0,1], and what becomes of one without contrast."""

from __future__ import annotations

import torch
from torch import Tensor


def min_max(maps: Tensor, flat: float = 0.0) -> Tensor:
    """Each map (...,h,w) min-max normalised to [0,1]; differentiable.

    A map is flat where its range is no more than rounding, 1e-12 of its largest value.

    Args:
        flat: the value of a flat map: zeros, since it says nothing; or NaN, the 0/0 of code that doesn't look.

    Example:
        >>> min_max(torch.tensor([[[2.0, 3.0], [4.0, 6.0]], [[5.0, 5.0], [5.0, 5.0]]])).tolist()
        [[[0.0, 0.25], [0.5, 1.0]], [[0.0, 0.0], [0.0, 0.0]]]
    """
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    span = high - low
    is_flat = span <= 1e-12 * high.abs().clamp(min=1e-12)
    return torch.where(is_flat, flat, (maps - low) / torch.where(is_flat, 1.0, span))
