"""What fills the hole of a masked picture."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwise.images import to_uint8
from maskwise.registry import Registry

Infiller = Callable[[Tensor, Tensor, Tensor], Tensor]
infillers: Registry[Infiller] = Registry("infiller")

TELEA_RADIUS = 3  # pixels, as in CASM's released code


@infillers.register("mean", source="the papers' default")
def mean(images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
    """The mean colour (3,) everywhere: (N,3,H,W), to be blended in by the mask."""
    return colour.reshape(1, 3, 1, 1).expand_as(images)


@infillers.register("telea", source="Telea 2004, as CASM 4.2 uses it")
def telea(images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
    """Inpaints holes (N,H,W), cut at 0.5, on 8-bit pictures; kept pixels are given back bit-equal.

    A hole that is the whole picture has no surroundings: OpenCV would give back the very pixels to be hidden, so
    it takes the mean colour (3,).
    """
    hard = holes > 0.5
    filled = []
    for image, hole in zip(images, hard, strict=True):
        if hole.all():
            filled.append(colour.to(images).reshape(3, 1, 1).expand_as(image))
            continue
        # Blank as in CASM's code: at the picture's edge OpenCV reads a little of what the hole is to hide.
        blank = to_uint8(image * ~hole)
        painted = cv2.inpaint(blank, hole.cpu().numpy().astype(np.uint8), TELEA_RADIUS, cv2.INPAINT_TELEA)
        filled.append(torch.from_numpy(np.asarray(painted)).permute(2, 0, 1).to(images) / 255)
    return torch.where(hard[:, None], torch.stack(filled), images) if filled else images.clone()
