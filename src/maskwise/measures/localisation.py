"""Localisation error (LE) and official metric (OM): does the box around a map find an object? (ILSVRC)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from maskwise.box import Rule, binarise, largest_component, tight_boxes
from maskwise.core.errors import InputError
from maskwise.core.option_types import OnlyWith
from maskwise.core.options import one_of
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import classes_of
from maskwise.measures.truth import TruthArea, TruthEdges, truth_of


def best_iou(predicted: Tensor, truth: Sequence[Tensor]) -> Tensor:
    """Largest IoU (N,) of each predicted box (N,4) with any of its picture's ground-truth boxes [(M,4), …].

    A picture without ground truth gives NaN, so that it can't be counted by accident.
    """
    return truth_of(truth, len(predicted), device=predicted.device).best_iou(predicted)


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


class BoxMetric(Metric):
    """A metric of the box around a map; by default the papers' rule.

    Args:
        rule: ``value`` keeps m >= alpha * mean(m), ``rank`` the brightest mean(m) part of the pixels (released CASM).
        alpha: factor of the value rule.
        connectivity: of components, 4 or 8.
        component: take only the largest connected component?
        box: ``exclusive`` leaves out the last row and column, as the code that Phang et al. released does.
    """

    only_with: ClassVar[OnlyWith] = {"alpha": {"rule": ("value",)}, "connectivity": {"component": (True,)}}

    revision = 2  # the first one took what maps with signs have below 0 into their mean

    def __init__(
        self,
        rule: Rule = "value",
        alpha: float = 1.0,
        connectivity: Literal[4, 8] = 4,
        component: bool = True,
        box: Literal["inclusive", "exclusive"] = "inclusive",
    ) -> None:
        super().__init__()
        one_of("rule", rule, ("value", "rank"))
        one_of("connectivity", connectivity, (4, 8))
        one_of("box", box, ("inclusive", "exclusive"))
        if not alpha >= 0:
            raise InputError(f"alpha must not be negative, and is {alpha}")
        self.rule, self.alpha, self.connectivity, self.component, self.box = rule, alpha, connectivity, component, box

    def predicted(self, maps: Tensor | np.ndarray) -> Tensor:
        """Boxes (N,4) of maps (N,H,W)."""
        masks = binarise(maps, self.rule, self.alpha)
        boxes = tight_boxes(largest_component(masks, self.connectivity) if self.component else masks)
        if self.box == "exclusive":
            boxes[:, 2:] = (boxes[:, 2:] - 1).clamp(min=0)
        return boxes


class Localisation(BoxMetric):
    """A metric that counts pictures whose box finds no object.

    Args:
        rule: see ``BoxMetric``; the next four likewise.
        threshold: an object is found by IoU > threshold (strict).
        truth: ``truncated`` drops fractions of a pixel of ground-truth boxes, as the released codes do.
        truth_area: ``clipped`` cuts ground truth at the picture's border first.
    """

    def __init__(
        self,
        rule: Rule = "value",
        alpha: float = 1.0,
        connectivity: Literal[4, 8] = 4,
        component: bool = True,
        box: Literal["inclusive", "exclusive"] = "inclusive",
        threshold: float = 0.5,
        truth: TruthEdges = "exact",
        truth_area: TruthArea = "unclipped",
    ) -> None:
        super().__init__(rule, alpha, connectivity, component, box)
        one_of("truth", truth, ("exact", "truncated"))
        one_of("truth_area", truth_area, ("unclipped", "clipped"))
        if not 0 <= threshold < 1:
            raise InputError(f"threshold is an IoU from 0 to below 1, which boxes can pass, and not {threshold}")
        self.threshold, self.truth, self.truth_area = threshold, truth, truth_area

    def missed(self, maps: Tensor, boxes: Sequence[Tensor]) -> Tensor:
        """(N,) float64: 1 where no object is found, 0 where one is, NaN where there is none."""
        predicted = self.predicted(maps)
        size = (int(maps.shape[1]), int(maps.shape[2]))
        best = truth_of(boxes, len(maps), size, self.truth, self.truth_area, predicted.device).best_iou(predicted)
        return torch.where(best.isnan(), best, (best <= self.threshold).double())


@metrics.register(
    "le",
    family="localisation",
    title="localisation error",
    paper="CASM (Zolna et al. 2020), section 5.1",
    says="in {value} of the pictures the box around the map overlaps the true box by less than half",
    unit="%",
    higher_is_better=False,
    needs=("boxes",),
)
class LE(Localisation):
    """Share of pictures whose box finds no object."""

    def per_image(self, maps: Tensor, *, boxes: Sequence[Tensor]) -> Tensor:
        return 100 * self.missed(maps, boxes)[:, None]


@metrics.register(
    "om",
    family="localisation",
    title="official metric, top-1",
    paper="CASM (Zolna et al. 2020), section 5.1",
    says="in {value} of the pictures the box misses the object or the classifier's first guess of the class is wrong",
    unit="%",
    higher_is_better=False,
    needs=("boxes", "labels", "probabilities"),
)
class OM(Localisation):
    """Share of pictures with the wrong box or the wrong class (the papers' reading: one box, the top class)."""

    guesses = 1

    def per_image(self, maps: Tensor, *, boxes: Sequence[Tensor], labels: Tensor, probabilities: Tensor) -> Tensor:
        missed = self.missed(maps, boxes)
        labels = classes_of(labels, len(missed), probabilities.shape[1], "labels")
        right = named(probabilities, labels, self.guesses).to(missed.device)
        wrong = torch.where(right, missed, missed.clamp(min=1))  # clamp keeps NaN: a picture without boxes
        return 100 * wrong.masked_fill(labels.to(missed.device) < 0, torch.nan)[:, None]


@metrics.register(
    "om5",
    family="localisation",
    title="official metric, top-5",
    paper="ILSVRC (Russakovsky et al. 2015)",
    says=(
        "in {value} of the pictures the box misses the object or none of the classifier's first five guesses "
        "of the class is right"
    ),
    unit="%",
    higher_is_better=False,
    needs=("boxes", "labels", "probabilities"),
)
class OM5(OM):
    """As ``om`` with five guesses of the class, all with the same box: ILSVRC's own rule."""

    guesses = 5


def named(probabilities: Tensor, labels: Tensor, guesses: int) -> Tensor:
    """(N,) bool: is the class among the likeliest? Of equal probabilities (N,C) the lower index comes first."""
    labels = labels.to(probabilities.device)[:, None].clamp(min=0)
    own = probabilities.gather(1, labels)
    earlier = torch.arange(probabilities.shape[1], device=probabilities.device) < labels
    return ((probabilities > own) | ((probabilities == own) & earlier)).sum(1) < guesses
