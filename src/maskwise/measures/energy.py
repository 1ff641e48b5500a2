"""The energy-based pointing game: how much of a map lies on the object (Wang et al. 2020; Arras et al. 2022)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_tensor
from maskwise.core.errors import InputError
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import masks_like, unit_maps


def energy_inside(maps: Tensor | np.ndarray, masks: Tensor | np.ndarray) -> Tensor:
    """Share (N,) of each map's sum that lies where its mask is, float64; 0 for a map of zeros.

    Args:
        maps: (N,H,W) in [0,1].
        masks: (N,H,W), bool or the covered share of each pixel.

    Example:
        >>> energy_inside(torch.tensor([[[0.5, 0.25, 0.25]]]), torch.tensor([[[True, True, False]]])).tolist()
        [0.75]
    """
    maps = unit_maps(as_tensor(maps))
    masks = as_tensor(masks).to(maps)
    total = maps.sum((1, 2))
    return (maps * masks).sum((1, 2)) / total.where(total > 0, 1)


def box_cover(boxes: Sequence[Tensor], height: int, width: int) -> Tensor:
    """(N,H,W) float64: how much of each pixel the boxes [(M,4), …] of its picture cover, at most by one of them.

    Edges within a pixel count in proportion.
    """
    covered = torch.zeros(len(boxes), height, width, dtype=torch.float64)
    for cover, own in zip(covered, boxes, strict=True):
        for x0, y0, x1, y1 in torch.as_tensor(own, dtype=torch.float64).reshape(-1, 4).tolist():
            across, down = (
                (torch.minimum(at + 1, at.new_tensor(end)) - torch.maximum(at, at.new_tensor(start))).clamp(min=0)
                for at, start, end in (
                    (torch.arange(width, dtype=torch.float64), x0, x1),
                    (torch.arange(height, dtype=torch.float64), y0, y1),
                )
            )
            torch.maximum(cover, down[:, None] * across, out=cover)
    return covered


class EnergyMetric(Metric):
    """Statistics: share of the map inside the truth, and share of the picture that the truth covers."""

    def __init__(self) -> None:
        super().__init__()
        self.reserve(2)

    def rows(self, maps: Tensor, truth: Tensor) -> Tensor:
        """(N,2) of truth (N,H,W) that covers each pixel in part; NaN where it covers none."""
        truth = truth.double().to(as_tensor(maps).device)
        area = truth.mean((1, 2))
        found = torch.stack([energy_inside(maps, truth), area], 1)
        return found.masked_fill((area == 0)[:, None], torch.nan)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return 100 * total[..., 0] / count


class BoxEnergy(EnergyMetric):
    """Of boxes."""

    def per_image(self, maps: Tensor, *, boxes: Sequence[Tensor]) -> Tensor:
        if len(maps) != len(boxes):
            raise InputError(f"{len(maps)} maps but the boxes of {len(boxes)} pictures")
        return self.rows(maps, box_cover(boxes, *maps.shape[-2:]))


@metrics.register(
    "energy_pointing",
    family="localisation",
    title="energy-based pointing game",
    paper="Wang et al. 2020 (Score-CAM)",
    says=(
        "{value} of the map lies in the object's boxes; a map that is the same everywhere gets their share of "
        "the picture"
    ),
    unit="%",
    higher_is_better=True,
    needs=("boxes",),
)
class EnergyPointing(BoxEnergy):
    """How much of the map's sum lies in the object's boxes?

    A large object gets a good value from any map, a map of ones the area of the boxes: see ``energy_lift``.
    """


@metrics.register(
    "energy_lift",
    family="localisation",
    title="lift of the energy-based pointing game",
    paper="Wang et al. 2020, over the boxes' area",
    says="the objects' boxes hold {value} as much of the maps as they would of a map that is the same everywhere",
    unit="x",
    higher_is_better=True,
    needs=("boxes",),
)
class EnergyLift(BoxEnergy):
    """How many times more of the map lies in the object's boxes than of a map that is the same everywhere?

    Mean share of the maps inside, over the mean area of the boxes: 1 is what a map of ones gets.
    """

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return total[..., 0] / total[..., 1]


@metrics.register(
    "relevance_mass",
    family="pixels",
    title="relevance mass accuracy",
    paper="Arras et al. 2022 (CLEVR-XAI)",
    says="{value} of the map lies on the object's own pixels",
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class RelevanceMass(EnergyMetric):
    """How much of the map's sum over the pixels that count lies on the object's own?"""

    revision = 2  # the first one counted pixels that `ignore` marks as outside

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        maps = unit_maps(as_tensor(maps))
        front = masks_like(maps, masks)
        if ignore is not None:  # unless they are foreground
            maps = maps.masked_fill(masks_like(maps, ignore, "ignore") & ~front, 0)
        return self.rows(maps, front)
