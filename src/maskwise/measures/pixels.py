"""Metrics of pixels, picture by picture: average precision and mean absolute error."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.box import as_maps, as_tensor
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import masks_like, unit_maps


def pixel_ap(
    maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, ignore: Tensor | np.ndarray | None = None
) -> Tensor:
    """Average precision (N,) of each map's pixels: sum over its distinct values of P_i (R_i - R_(i-1)).

    Args:
        maps: (N,H,W), any scale.
        masks: (N,H,W), foreground; a picture without any gives NaN.
        ignore: (N,H,W), pixels that don't count unless they are foreground.
    """
    maps = as_maps(maps)
    front = masks_like(maps, masks).flatten(1)
    counted = torch.ones_like(front)
    if ignore is not None:
        counted = front | ~masks_like(maps, ignore, "ignore").flatten(1)
    scores, order = maps.flatten(1).sort(1, descending=True)
    true = front.gather(1, order).cumsum(1).double()
    kept = counted.gather(1, order).cumsum(1).double()
    last = F.pad(scores[:, 1:] != scores[:, :-1], (0, 1), value=True)  # equal values are one threshold
    reached = torch.where(last, true, 0)
    before = F.pad(reached.cummax(1).values[:, :-1], (1, 0))
    precision = true / kept.where(kept > 0, 1)
    return torch.where(last, precision * (true - before), 0).sum(1) / true[:, -1]


def mean_absolute_error(
    maps: Tensor | np.ndarray, masks: Tensor | np.ndarray, ignore: Tensor | np.ndarray | None = None
) -> Tensor:
    """Mean (N,) of |m - mask| over the pixels that count; arguments as ``pixel_ap``, maps in [0,1]."""
    maps = unit_maps(as_tensor(maps))
    front = masks_like(maps, masks)
    counted = torch.ones_like(maps)
    if ignore is not None:
        counted = (front | ~masks_like(maps, ignore, "ignore")).double()
    return ((maps - front.double()).abs() * counted).sum((1, 2)) / counted.sum((1, 2))


@metrics.register(
    "pixel_ap",
    family="pixels",
    title="pixel AP, mean over pictures",
    paper="average precision picture by picture",
    says=(
        "of the pixels that a threshold calls object, {value} truly are, on the mean over all shares of the "
        "object that are found, picture by picture"
    ),
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class PixelAP(Metric):
    """Mean over pictures of ``pixel_ap``."""

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        return 100 * pixel_ap(maps, masks, ignore)[:, None]


@metrics.register(
    "mae",
    family="pixels",
    title="mean absolute error",
    paper="|map - mask|, no weights",
    says="map and true mask differ by {value} in each pixel on the mean, where 0 is the same and 1 the opposite",
    unit="",
    higher_is_better=False,
    needs=("masks",),
    takes=("ignore",),
)
class MeanAbsoluteError(Metric):
    """Mean over pictures of ``mean_absolute_error``."""

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        return mean_absolute_error(maps, masks, ignore)[:, None]
