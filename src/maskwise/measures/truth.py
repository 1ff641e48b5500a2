"""Ground-truth boxes of a batch: any number a picture, laid out flat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maskwise.box import paired_iou
from maskwise.core.errors import InputError

TruthEdges = Literal["exact", "truncated"]
TruthArea = Literal["unclipped", "clipped"]


@dataclass(frozen=True)
class TruthBoxes:
    """Boxes (M,4), float64, the picture (M,) that each belongs to, and how many pictures there are."""

    boxes: Tensor
    owner: Tensor
    pictures: int

    def best(self, values: Tensor) -> Tensor:
        """Largest of the values (M,) of each picture's boxes, (N,); NaN without any."""
        return self._reduced(values, "amax")

    def mean(self, values: Tensor) -> Tensor:
        """Mean of the values (M,) of each picture's boxes, (N,); NaN without any."""
        return self._reduced(values, "mean")

    def _reduced(self, values: Tensor, how: str) -> Tensor:
        nothing = torch.full((self.pictures,), torch.nan, dtype=torch.float64, device=values.device)
        return nothing.scatter_reduce(0, self.owner, values.double(), how, include_self=False)

    def best_iou(self, predicted: Tensor) -> Tensor:
        """Largest IoU (N,) of each predicted box (N,4) with the boxes of its picture."""
        return self.best(paired_iou(predicted[self.owner], self.boxes))


def truth_of(
    boxes: Sequence[Tensor],
    pictures: int,
    size: tuple[int, int] | None = None,
    edges: TruthEdges = "exact",
    area: TruthArea = "unclipped",
    device: torch.device | None = None,
) -> TruthBoxes:
    """From a list of (M_i,4), one a picture.

    Args:
        boxes: (x0,y0,x1,y1), half open.
        pictures: how many there must be.
        size: (H,W) at whose borders ``area="clipped"`` cuts.
        edges: ``truncated`` drops fractions of a pixel towards zero, as the papers' released codes do.
        area: ``unclipped`` keeps what lies outside the picture, which then counts in a box's area.
        device: where they go.

    Raises:
        InputError: another number of pictures, something that isn't (M,4), or NaN.
    """
    if len(boxes) != pictures:
        raise InputError(f"{pictures} pictures but the boxes of {len(boxes)}")
    parts = [_boxes(own).to(device) for own in boxes]
    flat = torch.cat([torch.zeros(0, 4, dtype=torch.float64, device=device), *parts])
    if flat.isnan().any():
        raise InputError("a ground-truth box holds NaN")
    if edges == "truncated":
        flat = flat.trunc()
    if area == "clipped" and size is not None:
        flat = flat.clamp(min=0).minimum(flat.new_tensor([size[1], size[0]] * 2))
    counts = torch.tensor([len(part) for part in parts], dtype=torch.int64, device=device)
    return TruthBoxes(flat, torch.arange(pictures, device=device).repeat_interleave(counts), pictures)


def _boxes(own: Tensor) -> Tensor:
    own = torch.as_tensor(own, dtype=torch.float64)
    if own.numel() and tuple(own.shape)[1:] != (4,):
        raise InputError(f"the boxes of a picture must be (M,4), not {tuple(own.shape)}")
    return own.reshape(-1, 4)
