"""Localisation error (LE): does the box around a map find an object? (ILSVRC; CASM, section 5)"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskwise.boxes import iou


def best_iou(predicted: Tensor, truth: Sequence[Tensor]) -> Tensor:
    """Largest IoU (N,) of each predicted box (N,4) with any of its picture's ground-truth boxes [(M,4), …].

    A picture without ground truth gives NaN, so that it can't be counted by accident.
    """
    best = [
        iou(box[None], boxes).max() if len(boxes) else torch.tensor(torch.nan, dtype=torch.float64)
        for box, boxes in zip(predicted, truth, strict=True)
    ]
    return torch.stack([b.double() for b in best])


def localisation_error(predicted: Tensor, truth: Sequence[Tensor], threshold: float = 0.5) -> float:
    """Share, in percent, of pictures whose box has IoU > ``threshold`` with no ground-truth box (strict).

    Example:
        >>> box = torch.tensor([[0, 0, 10, 10]])
        >>> localisation_error(box, [torch.tensor([[0, 0, 10, 9], [50, 50, 60, 60]])])
        0.0
    """
    best = best_iou(predicted, truth)
    best = best[~best.isnan()]
    return 100.0 * float((best <= threshold).double().mean())
