"""Checks of what metrics are given."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_maps, as_tensor
from maskwise.core.errors import InputError


def unit_maps(maps: Tensor | np.ndarray) -> Tensor:
    """Maps (N,H,W) as float64.

    Raises:
        InputError: another shape, NaN, or values outside [0,1].
    """
    maps = as_maps(maps).double()
    if maps.numel() and not (maps.amin() >= 0 and maps.amax() <= 1):
        low, high = maps.aminmax()
        raise InputError(f"maps must lie in [0,1], not [{low:.3g}, {high:.3g}]")
    return maps


def masks_like(maps: Tensor, masks: Tensor | np.ndarray, name: str = "masks") -> Tensor:
    """Masks (N,H,W) as bool beside the maps."""
    masks = as_tensor(masks)
    if masks.shape != maps.shape:
        raise InputError(f"{name} must be {tuple(maps.shape)} as the maps are, not {tuple(masks.shape)}")
    return masks.to(maps.device).bool()


def classes_of(classes: Tensor | np.ndarray, count: int, limit: int, name: str) -> Tensor:
    """Class indices (N,), int64; -1 stands for an unknown one.

    Raises:
        InputError: another number of them, or an index that is not below ``limit``.
    """
    classes = torch.as_tensor(classes, dtype=torch.int64)
    if classes.shape != (count,):
        raise InputError(f"{name} must be ({count},), one a map, not {tuple(classes.shape)}")
    if count and classes.max() >= limit:
        raise InputError(f"{name} holds class {int(classes.max())}, and there are {limit} classes")
    return classes


def fitting_maps(images: Tensor, maps: Tensor) -> Tensor:
    """The maps (N,H,W), if they are as many and as large as the images (N,3,H,W).

    Raises:
        InputError: they are not.
    """
    if images.ndim != 4 or len(images) != len(maps) or images.shape[-2:] != maps.shape[-2:]:
        raise InputError(f"images (N,3,H,W) and maps (N,H,W) must fit: {tuple(images.shape)}, {tuple(maps.shape)}")
    return maps
