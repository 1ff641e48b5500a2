"""Telea's inpainting from the hole's border inwards."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwise.core.options import in_range
from maskwise.images import to_uint8
from maskwise.infill.base import Infiller, infillers


@infillers.register("telea", source="Telea 2004, as CASM 4.2 uses it", surroundings=True)
@dataclass(frozen=True)
class Telea(Infiller):
    """Inpaints holes, cut at 0.5, on 8-bit pictures; kept pixels are given back bit-equal.

    A hole that is the whole picture has no surroundings: OpenCV would give back the very pixels to be hidden, so
    it takes the mean colour.

    Attributes:
        radius: in pixels, from 1 to 100, between which OpenCV cuts it, and rounded by it; 3 in CASM's released code.
    """

    radius: float = 3

    def __post_init__(self) -> None:
        in_range("telea's radius", self.radius, 1, 100)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        hard = holes > 0.5
        filled = []
        for image, hole in zip(images, hard[:, 0], strict=True):
            if hole.all():
                filled.append(colour[0].expand_as(image))
                continue
            # Blank as in CASM's code: at the picture's edge OpenCV reads a little of what the hole is to hide.
            blank, missing = to_uint8(image * ~hole), hole.cpu().numpy().astype(np.uint8)
            # OpenCV takes one channel or three, and paints each by itself.
            bands = [blank] if len(image) == 3 else np.split(blank, len(image), 2)
            painted = [cv2.inpaint(band.copy(), missing, self.radius, cv2.INPAINT_TELEA) for band in bands]
            filled.append(torch.from_numpy(np.dstack(painted)).permute(2, 0, 1).to(images) / 255)
        return torch.where(hard, torch.stack(filled), images)
