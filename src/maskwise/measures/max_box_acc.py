"""MaxBoxAcc: box accuracy at the map threshold that is best for the whole set (Choe et al. 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from maskwise.box import iou
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import unit_maps

Convention = Literal["released", "half_open"]


def contour_boxes(grey: np.ndarray, level: int, largest: bool) -> np.ndarray:
    """Boxes (K,4), half open, around the contours of grey > level, an (H,W) uint8 map; all or the largest by area."""
    # Without their hierarchy, which is not asked for; where several are largest it says which comes first.
    order = cv2.RETR_TREE if largest else cv2.RETR_LIST
    found, _ = cv2.findContours((grey > level).view(np.uint8), order, cv2.CHAIN_APPROX_SIMPLE)
    contours = [max(found, key=cv2.contourArea)] if len(found) > 1 and largest else found
    corners = chain.from_iterable(map(cv2.boundingRect, contours))
    boxes = np.fromiter(corners, np.float64, 4 * len(contours)).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def best_iou_by_threshold(
    map: Tensor, truth: Tensor, thresholds: np.ndarray, largest: bool, convention: Convention = "released"
) -> np.ndarray:
    """Best IoU (T,) of any box of a map's contours with any ground-truth box, at each threshold.

    The map becomes 8-bit grey; threshold t keeps what is brighter than t times its maximum, cut to an integer.

    Args:
        map: (H,W) in [0,1].
        truth: (M,4), half open, at least one.
        thresholds: (T,) in [0,1).
        largest: only the contour of largest area (V1), else all of them (V2).
        convention: ``released`` takes corners as pixels that belong to the box, of ground truth cut to integers and of
            predictions one pixel further right and down, as wsolevaluation does; ``half_open`` takes both as edges.
    """
    grey = (map.cpu().numpy() * 255).astype(np.uint8)
    levels, of_level = np.unique((thresholds * grey.max()).astype(int), return_inverse=True)
    found = [contour_boxes(grey, int(level), largest) for level in levels]
    found = [boxes if len(boxes) else np.zeros((1, 4)) for boxes in found]
    # The boxes of all levels together: one by one the overlaps would cost more than the contours.
    boxes, truth = torch.from_numpy(np.concatenate(found)), truth.cpu().double()
    if convention == "released":
        last = boxes.new_tensor([grey.shape[1] - 1, grey.shape[0] - 1])
        boxes = torch.cat([boxes[:, :2], boxes[:, 2:].minimum(last) + 1], 1)
        truth = torch.cat([truth[:, :2].trunc(), truth[:, 2:].trunc() + 1], 1)
    first = np.cumsum([0, *(len(one) for one in found[:-1])])
    best: np.ndarray = np.maximum.reduceat(iou(boxes, truth).amax(1).numpy(), first)
    return best[of_level]


@metrics.register(
    "max_box_acc",
    family="localisation",
    title="MaxBoxAcc",
    paper="Choe et al. 2020",
    says=(
        "in {value} of the pictures the box around the map overlaps the true one by half or more, at the one "
        "threshold that suits the whole set best"
    ),
    unit="%",
    higher_is_better=True,
    needs=("boxes",),
)
class MaxBoxAcc(Metric):
    """Share of pictures whose largest contour's box has IoU >= 0.5, at the best threshold of the whole set.

    Statistics are, per IoU and threshold, whether the picture is right.

    Args:
        steps: thresholds 0, 1/steps, … below 1; wsolevaluation's own default is 1000.
        convention: of box corners, ``released`` or ``half_open``; see ``best_iou_by_threshold``.
    """

    overlaps: tuple[float, ...] = (0.5,)
    largest = True

    def __init__(self, steps: int = 100, convention: Convention = "released") -> None:
        if steps < 1:
            raise InputError(f"steps must be at least 1, not {steps}")
        one_of("convention", convention, ("released", "half_open"))
        super().__init__()
        self.reserve(steps * len(self.overlaps))
        self.steps, self.convention = steps, convention

    def per_image(self, maps: Tensor, *, boxes: Sequence[Tensor]) -> Tensor:
        maps = unit_maps(maps)
        if len(maps) != len(boxes):
            raise InputError(f"{len(maps)} maps but the boxes of {len(boxes)} pictures")
        thresholds = np.arange(self.steps) / self.steps
        rows = np.full((len(maps), len(self.overlaps), self.steps), np.nan)
        for row, map, truth in zip(rows, maps, boxes, strict=True):
            if len(truth):
                best = best_iou_by_threshold(map, truth, thresholds, self.largest, self.convention)
                row[:] = best >= np.array(self.overlaps)[:, None]
        return torch.from_numpy(rows).flatten(1).to(maps.device)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        right = total.unflatten(-1, (len(self.overlaps), self.steps))
        accuracy: Tensor = 100 * (right.amax(-1) / count[..., None]).mean(-1)
        return accuracy


@metrics.register(
    "max_box_acc_v2",
    family="localisation",
    title="MaxBoxAccV2",
    paper="Choe et al. 2020 (journal version)",
    says=(
        "in {value} of the pictures, on the mean over three degrees of overlap, a box around the map fits the "
        "true one, each at the threshold that suits the whole set best"
    ),
    unit="%",
    higher_is_better=True,
    needs=("boxes",),
)
class MaxBoxAccV2(MaxBoxAcc):
    """As ``max_box_acc`` with the best of all contours, averaged over IoU 0.3, 0.5 and 0.7, each at its threshold."""

    overlaps = (0.3, 0.5, 0.7)
    largest = False
