"""Masked-in and masked-out pictures."""

from __future__ import annotations

from torch import Tensor


def masked_in(images: Tensor, maps: Tensor, fill: Tensor) -> Tensor:
    """What the mask keeps: x m + fill (1 - m).

    Args:
        images: (N,3,H,W).
        maps: (N,H,W) in [0,1], or bool.
        fill: the mean colour as (1,3,1,1), or pictures (N,3,H,W). With the mean colour this equals multiplying
            the normalised picture by the mask.
    """
    keep = maps[:, None].to(images.dtype)
    return images * keep + fill * (1 - keep)


def masked_out(images: Tensor, maps: Tensor, fill: Tensor) -> Tensor:
    """What the mask leaves: x (1 - m) + fill m (CASM, section 3). Arguments as ``masked_in``."""
    hole = maps[:, None].to(images.dtype)
    return images * (1 - hole) + fill * hole
