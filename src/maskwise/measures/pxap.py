"""Metrics of pixels pooled over pictures: PxAP and the IoU at the best threshold (Choe et al. 2020)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_tensor
from maskwise.core.errors import InputError
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import masks_like, unit_maps


def score_histograms(
    maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, ignore: Tensor | np.ndarray | None = None, bins: int = 100
) -> Tensor:
    """How many pixels of foreground and of background have each score: (N,2,bins+1), float64.

    Args:
        maps: (N,H,W) in [0,1].
        masks: (N,H,W), foreground.
        ignore: (N,H,W), pixels that don't count unless they are foreground.
        bins: [0,d), [d,2d), … [1-d,1) of width d = 1/bins; one more holds the scores that are 1.

    Raises:
        InputError: shapes that differ, or scores outside [0,1].
    """
    maps = unit_maps(as_tensor(maps))
    front = masks_like(maps, masks)
    edges = torch.arange(1, bins + 1, dtype=torch.float64, device=maps.device) / bins
    cell = torch.bucketize(maps, edges, right=True)
    picture = torch.arange(len(maps), device=maps.device)[:, None, None]
    cell += (2 * picture + (~front).long()) * (bins + 1)
    cells = 2 * len(maps) * (bins + 1)
    if ignore is not None:  # those go to a cell of their own, which is dropped
        cell = cell.masked_fill(masks_like(maps, ignore, "ignore") & ~front, cells)
    return cell.flatten().bincount(minlength=cells + 1)[:cells].reshape(len(maps), 2, bins + 1).double()


def pooled_ap(histograms: Tensor) -> Tensor:
    """Average precision (…) of histograms (…,2,bins+1): sum over thresholds, high to low, of P_i (R_i - R_(i-1)).

    A map that is constant scores the foreground's share of the pixels.
    """
    front, back = histograms.flip(-1).unbind(-2)
    true = front.cumsum(-1)
    kept = true + back.cumsum(-1)
    precision = true / kept.where(kept > 0, 1)
    return (precision * front).sum(-1) / true[..., -1]


def iou_by_threshold(histograms: Tensor) -> Tensor:
    """IoU (…,bins+1) of the mask and what reaches each threshold, from the highest down, of (…,2,bins+1)."""
    front, back = histograms.flip(-1).unbind(-2)
    true, false = front.cumsum(-1), back.cumsum(-1)
    return true / (true[..., -1:] + false)


def pooled_iou(histograms: Tensor) -> Tensor:
    """Largest IoU (…) of foreground and what reaches a threshold, over all thresholds, of histograms (…,2,bins+1)."""
    return iou_by_threshold(histograms).amax(-1)


@metrics.register(
    "pxap",
    family="pixels",
    title="PxAP",
    paper="Choe et al. 2020",
    says=(
        "of the pixels that a threshold calls object, {value} truly are, on the mean over all shares of the "
        "object that are found"
    ),
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class PxAP(Metric):
    """Average precision of pixels, pooled over all pictures.

    Args:
        bins: of the score histogram; 100 as in Phang et al., 1000 is wsolevaluation's own default.
    """

    def __init__(self, bins: int = 100) -> None:
        if bins < 1:
            raise InputError(f"bins must be at least 1, not {bins}")
        super().__init__()
        self.reserve(2 * (bins + 1))
        self.bins = bins

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        return score_histograms(maps, masks, ignore, self.bins).flatten(1)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return 100 * pooled_ap(total.unflatten(-1, (2, self.bins + 1)))


@metrics.register(
    "best_iou",
    family="pixels",
    title="IoU at the best threshold",
    paper="pooled as PxAP is",
    says="at its best threshold the map and the true object share {value} of the pixels that either of them covers",
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class BestIoU(PxAP):
    """IoU of foreground and thresholded map, pixels pooled over all pictures, at the best threshold for the set."""

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return 100 * pooled_iou(total.unflatten(-1, (2, self.bins + 1)))
