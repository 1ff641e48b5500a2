"""IoU of a thresholded map with the object, picture by picture, by four ways to choose the threshold."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.box import above_otsu, as_tensor, binarise
from maskwise.core.errors import InputError
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import masks_like
from maskwise.measures.pxap import iou_by_threshold, score_histograms


def mask_iou(kept: Tensor, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
    """IoU (N,), float64, of bool masks (N,H,W); NaN without foreground.

    Args:
        kept: what is predicted.
        masks: the truth.
        ignore: pixels that don't count unless they are foreground.
    """
    if ignore is not None:
        kept = kept & (masks | ~masks_like(masks, ignore, "ignore"))
    both, either = (kept & masks).sum((1, 2)), (kept | masks).sum((1, 2))
    found = both.double() / either.where(either > 0, 1)
    return found.masked_fill(~masks.flatten(1).any(1), torch.nan)


class ThresholdIoU(Metric):
    """A metric of the IoU at each threshold.

    Args:
        bins: thresholds 0, 1/bins, …, 1.
    """

    def __init__(self, bins: int = 100) -> None:
        if not isinstance(bins, int) or bins < 1:
            raise InputError(f"bins must be a whole number of at least 1, not {bins!r}")
        super().__init__()
        self.bins = bins

    def ious(self, maps: Tensor, masks: Tensor, ignore: Tensor | None) -> Tensor:
        """In percent (N,bins+1); NaN without foreground."""
        histograms = score_histograms(maps, masks, ignore, self.bins)
        nothing = histograms[:, 0].sum(1) == 0
        return 100 * iou_by_threshold(histograms).masked_fill(nothing[:, None], torch.nan)


@metrics.register(
    "iou_oracle",
    family="pixels",
    title="IoU, each picture's best threshold",
    paper="upper bound",
    says=(
        "cut at the best threshold of each picture, which nobody knows, the map and the object share {value} "
        "of what either covers: an upper bound"
    ),
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class OracleIoU(ThresholdIoU):
    """How well could each map outline its object, if one knew the best threshold for it?

    An upper bound that looks at the truth: no rule reaches it, and it must not rank methods alone.
    """

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        return self.ious(maps, masks, ignore).amax(1, keepdim=True)


@metrics.register(
    "iou_dataset",
    family="pixels",
    title="IoU, the set's best threshold",
    paper="after Choe et al. 2020",
    says="cut at the threshold that is best for all, the map and the object share {value} of what either covers",
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class DataSetIoU(ThresholdIoU):
    """How well do maps outline their objects at the one threshold that is best for the whole set?

    Mean over pictures, each counting alike; ``best_iou`` pools the pixels of all.
    """

    def __init__(self, bins: int = 100) -> None:
        super().__init__(bins)
        self.reserve(bins + 1)

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        return self.ious(maps, masks, ignore)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return total.amax(-1) / count


@metrics.register(
    "iou_mean_rule",
    family="pixels",
    title="IoU, threshold at the map's mean",
    paper="CASM (Zolna et al. 2020), Eq. 9",
    says="cut at its own mean, the map and the object share {value} of what either covers",
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class MeanRuleIoU(Metric):
    """How well does a map outline its object, cut at its own mean as ``le`` cuts it?"""

    revision = 2  # as of ``le``

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        kept = binarise(as_tensor(maps))
        return 100 * mask_iou(kept, masks_like(kept, masks), ignore)[:, None]


@metrics.register(
    "iou_otsu",
    family="pixels",
    title="IoU, Otsu's threshold",
    paper="Otsu 1979",
    says="cut where its values fall into two groups, the map and the object share {value} of what either covers",
    unit="%",
    higher_is_better=True,
    needs=("masks",),
    takes=("ignore",),
)
class OtsuIoU(Metric):
    """How well does a map outline its object, cut where its own values fall into two groups?"""

    def per_image(self, maps: Tensor, *, masks: Tensor, ignore: Tensor | None = None) -> Tensor:
        kept = above_otsu(maps)
        return 100 * mask_iou(kept, masks_like(kept, masks), ignore)[:, None]
