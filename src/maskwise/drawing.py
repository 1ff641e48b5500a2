"""A map laid over its picture, and the font of all figures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib import colormaps, get_data_path
from torch import Tensor

from maskwise.images import to_uint8

FONT = Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


def overlay(image: Tensor, saliency: Tensor, strength: float = 0.55) -> np.ndarray:
    """(H,W,3) uint8: the map (H,W) in colour over the greyed picture (3,H,W)."""
    grey = image.mean(0, keepdim=True).expand(3, -1, -1)
    colours = colormaps["inferno"](saliency.cpu().numpy())[..., :3]
    mixed = (1 - strength) * to_uint8(grey) + strength * 255 * colours
    picture: np.ndarray = mixed.round().astype(np.uint8)
    return picture
