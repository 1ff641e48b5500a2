"""Consistency over crops: the mask of a part of a picture is that part of the picture's mask."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from maskwise.training.crops import Crop


def enlarged_part(maps: Tensor, crop: Crop) -> Tensor:
    """The crop of pictures or maps (B,c,H,W), brought to their own size (B,c,H,W); bilinear, with gradients."""
    part = F.interpolate(crop.region(maps), maps.shape[-2:], mode="bilinear", align_corners=False, antialias=True)
    return part.flip(-1) if crop.flip else part


def inconsistency(of_part: Tensor, masks: Tensor, crop: Crop) -> Tensor:
    """mean |m(crop x) - crop m(x)|, a scalar.

    Args:
        of_part: masks (B,H,W) of the pictures' enlarged parts.
        masks: (B,H,W) of the whole pictures.
        crop: of these.
    """
    return (of_part - enlarged_part(masks[:, None], crop)[:, 0]).abs().mean()
