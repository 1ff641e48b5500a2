"""Masked pictures for a judge: any number of views of the same pictures, each a mask and a side of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.training.objectives.base import Side

Infill = Callable[[Tensor, Tensor, Tensor], Tensor]  # an Infiller's call: pictures, holes, mean colour


@dataclass(frozen=True)
class MaskView:
    """Pictures behind a mask.

    Attributes:
        mask: (B,H,W) in [0,1].
        side: ``in`` shows what the mask keeps, ``out`` what it leaves.
    """

    mask: Tensor
    side: Side


def seen_through(images: Tensor, views: Sequence[MaskView], infill: Infill, colour: Tensor) -> list[Tensor]:
    """The masked pictures (B,3,H,W) of each view; gradients go to its mask and none to the fill.

    Args:
        images: (B,3,H,W) in [0,1].
        views: as many as are wanted.
        infill: what stands in the holes.
        colour: (3,), the classifier's mean colour.
    """
    pictures = []
    for view in views:
        hidden = view.mask.detach() if view.side == "out" else 1 - view.mask.detach()
        with torch.no_grad():
            fill = infill(images, hidden, colour)
        pictures.append((masked_out if view.side == "out" else masked_in)(images, view.mask, fill))
    return pictures
