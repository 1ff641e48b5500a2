"""The share of a map that says most."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.core.errors import InputError


def most_salient(maps: Tensor, percent: float) -> Tensor:
    """(N,H,W) bool: the ``percent`` of pixels of each map (N,H,W) with the highest values, exactly that many.

    Of equal values the one that comes first, row by row, is taken first.

    Args:
        maps: any values.
        percent: in [0,100]; the number of pixels is rounded.

    Raises:
        InputError: a share beyond that.

    Example:
        >>> most_salient(torch.tensor([[[0.1, 0.9], [0.9, 0.9]]]), 50).tolist()
        [[[False, True], [True, False]]]
    """
    if not 0 <= percent <= 100:
        raise InputError(f"the share of pixels is from 0 to 100 percent, not {percent}")
    flat = maps.flatten(1)
    count = round(percent / 100 * flat.shape[1])
    order = flat.argsort(dim=1, descending=True, stable=True)[:, :count]
    return torch.zeros_like(flat, dtype=torch.bool).scatter_(1, order, True).reshape(maps.shape)
