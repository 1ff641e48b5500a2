"""The pointing game: does a map's brightest pixel lie on the object? (Zhang et al. 2016; TorchRay's protocol)"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_maps
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import masks_like

SMALL = 0.25  # of the picture's area: the largest object of a difficult case
Regions = Sequence[Mapping[int, Tensor]]


def pointing_hits(maps: Tensor | np.ndarray, regions: Tensor | np.ndarray, tolerance: float | None = 15) -> Tensor:
    """(N,) bool: lies a pixel of the region nearer than ``tolerance`` (strict) to the brightest pixel of the map?

    Args:
        maps: (N,H,W); of equal pixels the first in reading order is the brightest.
        regions: (N,H,W) bool, where the object is.
        tolerance: in pixels of the maps, which the protocol takes at the pictures' own size; None: the pixel itself.
    """
    maps = as_maps(maps)
    regions = masks_like(maps, regions, "regions")
    height, width = maps.shape[1:]
    at = maps.flatten(1).argmax(1)
    if tolerance is None:
        return regions.flatten(1).gather(1, at[:, None])[:, 0]
    down = torch.arange(height, device=maps.device) - (at // width)[:, None]
    across = torch.arange(width, device=maps.device) - (at % width)[:, None]
    near = down[:, :, None] ** 2 + across[:, None, :] ** 2 < tolerance**2
    return (near & regions).flatten(1).any(1)


def box_regions(boxes: Sequence[Tensor], classes: Tensor, size: tuple[int, int]) -> list[dict[int, Tensor]]:
    """Regions of pictures of one class each: the pixels whose centres lie in any of the boxes [(M,4), …].

    Along an axis on which a box holds no centre it is the one pixel that its middle lies in. A picture without boxes
    has no region.
    """
    made = []
    for own, category in zip(boxes, torch.as_tensor(classes).tolist(), strict=True):
        region = torch.zeros(size, dtype=torch.bool)
        corners = torch.as_tensor(own).double().reshape(-1, 2, 2)  # of each box, the first and the second (x, y)
        first, end = (corners - 0.5).ceil().int().unbind(1)
        middle = corners.mean(1).floor().int()
        between = first < end
        first, end = torch.where(between, first, middle), torch.where(between, end, middle + 1)
        for (x0, y0), (x1, y1) in zip(first.clamp(min=0).tolist(), end.clamp(min=0).tolist(), strict=True):
            region[y0:y1, x0:x1] = True
        made.append({category: region} if len(own) else {})
    return made


@metrics.register(
    "pointing",
    family="localisation",
    title="pointing game",
    paper="Zhang et al. 2016; Fong et al. 2019 (TorchRay)",
    says="the highest point of the map lies on the object in {value} of the cases, on the mean over classes",
    unit="%",
    higher_is_better=True,
    needs=(),
    takes=("regions", "boxes", "targets", "labels", "categories", "difficult"),
)
class Pointing(Metric):
    """Hits / (hits + misses) of each class, then the mean over classes.

    A map answers for one class of its picture: the one that ``categories`` names, else the one that was explained, or,
    where the picture has a single one, that one. So a picture with several classes is given once for each. Statistics
    are hits and tries of each class; -1, the unknown class, is one more.

    Args:
        tolerance: in pixels of the maps (15 in the protocol, at the pictures' own size); None: the pixel itself.
        classes: how many there are.
        subset: ``difficult`` counts only classes that cover less than a quarter of a picture with others in it, or
            those of the list that is given.
        cases: what the protocol calls that list; it changes nothing else.
    """

    def __init__(
        self,
        tolerance: float | None = 15,
        classes: int = 1000,
        subset: Literal["all", "difficult"] = "all",
        cases: str = "by rule",
    ) -> None:
        if classes < 1 or (tolerance is not None and not tolerance > 0):
            raise InputError(f"the pointing game takes classes >= 1 and tolerance > 0, not {classes} and {tolerance}")
        one_of("subset", subset, ("all", "difficult"))
        super().__init__()
        self.reserve(2 * (classes + 1))
        self.tolerance, self.classes, self.subset, self.cases = tolerance, classes, subset, cases

    def per_image(
        self,
        maps: Tensor,
        *,
        regions: Regions | None = None,
        boxes: Sequence[Tensor] | None = None,
        targets: Tensor | None = None,
        labels: Tensor | None = None,
        categories: Tensor | None = None,
        difficult: Sequence[Collection[int]] | None = None,
    ) -> Tensor:
        maps = as_maps(maps)
        n, size = len(maps), (int(maps.shape[1]), int(maps.shape[2]))
        if regions is None:
            unknown = torch.full((n,), -1)
            regions = box_regions(boxes or [torch.zeros(0, 4)] * n, unknown if labels is None else labels, size)
        named = targets if categories is None else categories
        asked = [None] * n if named is None else torch.as_tensor(named).tolist()
        rows = torch.full((n, 2, self.classes + 1), torch.nan, dtype=torch.float64)
        chosen, areas, counted = [], [], []
        for i, (own, target) in enumerate(zip(regions, asked, strict=True)):
            category = target if target in own else next(iter(own)) if len(own) == 1 else None
            listed = None if difficult is None else difficult[i]
            if category is None or (self.subset == "difficult" and not is_difficult(own, category, listed)):
                continue
            if not -1 <= category < self.classes:
                raise InputError(f"the pointing game counts {self.classes} classes, and one is {category}")
            chosen.append(i)
            areas.append(own[category])
            counted.append(category)
        if chosen:
            rows[chosen] = 0
            rows[chosen, 0, counted] = pointing_hits(maps[chosen], torch.stack(areas), self.tolerance).cpu().double()
            rows[chosen, 1, counted] = 1
        return rows.flatten(1).to(maps.device)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        both = total.unflatten(-1, (2, -1))
        both = both[..., both.flatten(0, -2).any(0)]  # of a thousand classes few are met, and resamples are many
        hits, tries = both.unbind(-2)
        tried = tries > 0
        accuracy: Tensor = 100 * torch.where(tried, hits / tries.where(tried, 1), 0).sum(-1) / tried.sum(-1)
        return accuracy


@metrics.register(
    "pointing_difficult",
    family="localisation",
    title="pointing game, difficult",
    paper="Zhang et al. 2016; Fong et al. 2019 (TorchRay)",
    says=(
        "the highest point of the map lies on the object in {value} of the difficult cases, where the object "
        "is small and others stand beside it"
    ),
    unit="%",
    higher_is_better=True,
    needs=(),
    takes=("regions", "boxes", "targets", "labels", "categories", "difficult"),
)
class PointingDifficult(Pointing):
    """The pointing game on its difficult cases; options as ``pointing``."""

    def __init__(
        self,
        tolerance: float | None = 15,
        classes: int = 1000,
        subset: Literal["all", "difficult"] = "difficult",
        cases: str = "by rule",
    ) -> None:
        super().__init__(tolerance, classes, subset, cases)


def is_difficult(regions: Mapping[int, Tensor], category: int, listed: Collection[int] | None = None) -> bool:
    """Is the class on the list; or, without one, does it cover less than a quarter of a picture that has others too?"""
    if listed is not None:
        return category in listed
    region = regions[category]
    others = any(other != category and bool(pixels.any()) for other, pixels in regions.items())
    return others and float(region.double().mean()) < SMALL
