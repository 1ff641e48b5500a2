"""F1 of the continuous map within ground-truth boxes (CASM, section 5; Phang et al., Table 3)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_tensor
from maskwise.core.options import one_of
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import unit_maps
from maskwise.measures.truth import TruthArea, TruthBoxes, TruthEdges, truth_of

EPSILON = 1e-6  # as in the released code


def box_f1(maps: Tensor | np.ndarray, truth: TruthBoxes) -> Tensor:
    """F1 (M,) of each ground-truth box with the map of its picture.

    P = (sum of m in the box) / (sum of m), R = (sum of m in the box) / (area of the box), F1 = 2PR/(P+R), with 1e-6
    added to the denominators of P and F1. A pixel that the box covers in part counts in part.

    Args:
        maps: (N,H,W) in [0,1].
        truth: the boxes; their area counts as it is, also outside the picture.
    """
    maps = unit_maps(as_tensor(maps))
    x0, y0, x1, y1 = truth.boxes.unbind(1)
    down, across = _covered(y0, y1, maps.shape[1]), _covered(x0, x1, maps.shape[2])
    sums = [d @ maps[n] @ a for d, a, n in zip(down, across, truth.owner.tolist(), strict=True)]
    inside = torch.stack(sums) if sums else x0
    area = (x1 - x0).clamp(min=0) * (y1 - y0).clamp(min=0)
    precision = inside / (maps.sum((1, 2))[truth.owner] + EPSILON)
    recall = inside / area.clamp(min=1e-12)  # a box without area holds nothing: 0
    return 2 * precision * recall / (precision + recall + EPSILON)


def _covered(start: Tensor, end: Tensor, pixels: int) -> Tensor:
    """Part (M,pixels) of each pixel of an axis that lies between start and end (M,)."""
    edges = torch.arange(pixels, dtype=start.dtype, device=start.device)
    return (torch.minimum(edges + 1, end[:, None]) - torch.maximum(edges, start[:, None])).clamp(min=0)


@metrics.register(
    "f1",
    family="localisation",
    title="F1, best box",
    paper="CASM (Zolna et al. 2020), Table 2",
    says=(
        "map and true box agree by {value}, the harmonic mean of how much of the map lies in the box and how "
        "much of the box it covers"
    ),
    unit="%",
    higher_is_better=True,
    needs=("boxes",),
)
class F1(Metric):
    """F1 of the map with the box of its picture that gives most; see ``box_f1``.

    Args:
        truth: ``truncated`` drops fractions of a pixel of ground-truth boxes, as the released code does.
        truth_area: ``clipped`` cuts ground truth at the picture's border first.
    """

    def __init__(self, truth: TruthEdges = "exact", truth_area: TruthArea = "unclipped") -> None:
        super().__init__()
        one_of("truth", truth, ("exact", "truncated"))
        one_of("truth_area", truth_area, ("unclipped", "clipped"))
        self.truth, self.truth_area = truth, truth_area

    def over_boxes(self, truth: TruthBoxes, values: Tensor) -> Tensor:
        return truth.best(values)

    def per_image(self, maps: Tensor, *, boxes: Sequence[Tensor]) -> Tensor:
        maps = as_tensor(maps)
        size = (int(maps.shape[1]), int(maps.shape[2]))
        truth = truth_of(boxes, len(maps), size, self.truth, self.truth_area, maps.device)
        return 100 * self.over_boxes(truth, box_f1(maps, truth))[:, None]


@metrics.register(
    "f1_mean",
    family="localisation",
    title="F1, mean over boxes",
    paper="Phang et al. 2020, released code",
    says=(
        "map and true boxes agree by {value}, the harmonic mean of how much of the map lies in a box and how "
        "much of it the map covers, on the mean over boxes"
    ),
    unit="%",
    higher_is_better=True,
    needs=("boxes",),
)
class F1Mean(F1):
    """As ``f1``, with the mean over the boxes of a picture instead of the best."""

    def over_boxes(self, truth: TruthBoxes, values: Tensor) -> Tensor:
        return truth.mean(values)
