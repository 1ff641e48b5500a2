"""A map laid over its picture, and the font of all figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from torch import Tensor

from maskwise.drawing.heat import RAW, HeatScale
from maskwise.images import to_uint8

FONT = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def overlay(image: Tensor, saliency: Tensor, strength: float = 0.55, scale: HeatScale = RAW) -> np.ndarray:
    """(H,W,3) uint8: the map (H,W) in colour over the greyed picture (3,H,W).

    Args:
        strength: of the colours, in [0,1].
        scale: which value gets which colour; as it is, from 0 to 1, where nothing is said.
    """
    grey = image.mean(0, keepdim=True).expand(3, -1, -1)
    mixed = (1 - strength) * to_uint8(grey) + strength * 255 * scale.colours(saliency)
    picture: np.ndarray = mixed.round().astype(np.uint8)
    return picture
