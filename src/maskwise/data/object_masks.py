"""Masks of a picture's objects in one piece of memory, which is asked for only where it is not too much."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from maskwise.core.errors import InputError

MOST = 2**29  # bytes, one a pixel and object: 44 objects of 12 megapixels, 1,700 of 640x480; a listing may be a bomb


def object_masks(masks: Iterable[Tensor], count: int, height: int, width: int, title: str) -> Tensor:
    """(count,height,width) bool, filled with one mask after another.

    Args:
        masks: (height,width) bool each, made as they are asked for.
        title: what an error calls the picture.

    Raises:
        InputError: they would take more than half a gigabyte; none of them is made then.

    Example:
        >>> object_masks([torch.eye(2) > 0], 1, 2, 2, "x").tolist()
        [[[True, False], [False, True]]]
    """
    if count * height * width > MOST:
        raise InputError(
            f"{title}: the masks of {count:,} objects of {width}x{height} pixels would take more than {MOST >> 20} MB; "
            "shrink the picture and its masks"
        )
    found = torch.empty(count, height, width, dtype=torch.bool)
    for place, mask in zip(found, masks, strict=True):
        place.copy_(mask)
    return found
