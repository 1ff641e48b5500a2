"""AreaBand: each class's mask covers at least one part of the picture, and at most another (Stalder et al. 2022)."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.training.objectives.base import AreaObjective, Judged, objectives


@objectives.register("area_band", paper="Stalder et al. 2022")
class AreaBand(AreaObjective):
    """``area_outside`` of the mask of each class that a picture shows, their mean, then the mean over the batch."""

    def loss(self, judged: Judged) -> Tensor:
        own = judged.masks_by_class.own
        return own.mean(area_outside(own.masks, *self.term.band))


def area_outside(masks: Tensor, least: float, most: float) -> Tensor:
    """(...,): how far masks (...,H,W) in [0,1] are from covering from ``least`` to ``most`` of the picture.

    With the pixels sorted, largest first, mean_i relu(1[i <= N least] - m_i) + mean_i relu(m_i - 1[i <= N most]): the
    largest shall be 1 and the smallest 0, and what lies between is free. A mask of zeros and ones that covers A pays
    max(least - A, 0) + max(A - most, 0); one that is q everywhere pays least (1 - q) + (1 - most) q.

    Args:
        masks: (...,H,W).
        least, most: parts of the picture, 0 <= least <= most <= 1.

    Example:
        >>> area_outside(torch.full((2, 5, 4), 0.5), 0.2, 0.5)
        tensor([0.3500, 0.3500])
    """
    ordered = masks.flatten(-2).sort(-1, descending=True).values
    count = ordered.shape[-1]
    rank = torch.arange(1, count + 1, device=masks.device)
    low, high = (rank <= part * count + 1e-6 for part in (least, most))  # 0.3 of 10 pixels are 3, not 2
    return ((1 - ordered) * low).mean(-1) + (ordered * ~high).mean(-1)
