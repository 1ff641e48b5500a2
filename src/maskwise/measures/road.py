"""Remove and debias (ROAD): what is left of a class when the most, or the least, salient pixels are inpainted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_maps, as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.infill import Infiller
from maskwise.measures.base import Metric, metrics
from maskwise.measures.filling import HoleFill, fill_of, scores_without
from maskwise.measures.inputs import fitting_maps
from maskwise.measures.perturbation import Ties, places
from maskwise.measures.scoring import (
    ClassifierMetric,
    FollowedClass,
    asked_for,
    classes_followed,
    log_probabilities,
    whole_log_probabilities,
)

Order = Literal["morf", "lerf"]
RoadScore = Literal["probability", "accuracy"]
PERCENT = "10,20,30,40,50,70,90"  # the authors'


def road_scores(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | np.ndarray,
    percent: Sequence[float],
    fill: HoleFill,
    targets: Tensor | None = None,
    order: Order = "morf",
    score: RoadScore = "probability",
    batch: int | None = None,
    ties: Ties = "reading",
) -> Tensor:
    """What is left of each picture's class without so many percent of its pixels: (N,len(percent)), float64, in [0,1].

    Args:
        classifier: gives the probabilities.
        images: (N,3,H,W) in [0,1].
        maps: (N,H,W), any scale.
        percent: shares of the pixels that go, each counted from the whole picture, above 0 and below 100.
        fill: what stands in their place; scores are means over its draws.
        targets: (N,) classes to follow; None: the likeliest of each whole picture.
        order: the most relevant go first (``morf``), or the least (``lerf``).
        score: the class's ``probability``, or 1 where it is still the likeliest (``accuracy``).
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
        ties: which of equal pixels goes first, see ``places``.

    Raises:
        InputError: shapes that differ, or an unknown option or class.
    """
    one_of("order", order, ("morf", "lerf"))
    one_of("score", score, ("probability", "accuracy"))
    maps = fitting_maps(images, as_maps(maps))
    images, n, shares = images.to(classifier.device), len(images), len(percent)
    place = places(maps.to(images.device), ties)
    size = place[0].numel() if n else 1
    if order == "lerf":
        place = size - 1 - place
    counts = torch.tensor([round(p / 100 * size) for p in percent], device=images.device)
    classes = classes_followed(whole_log_probabilities(classifier, images, batch), targets)

    def hole(rows: Tensor, share: Tensor) -> Tensor:
        return place[rows] < counts[share, None, None]

    def scored(of: Tensor, copies: Callable[[Tensor], Tensor]) -> Tensor:
        if score == "probability":
            return log_probabilities(classifier, len(of), copies, batch, classes[of]).exp()
        return (log_probabilities(classifier, len(of), copies, batch).argmax(1) == classes[of]).double()

    return scores_without(fill.each_draw(images, classifier.mean), hole, n, shares, scored)


def percentages(text: str | float | Sequence[float]) -> tuple[float, ...]:
    """Numbers above 0 and below 100, as a text with commas between or in a row.

    Raises:
        InputError: none, or one that is no such number.

    Example:
        >>> percentages("10,50"), percentages(20)
        ((10.0, 50.0), (20.0,))
    """
    parts = text.split(",") if isinstance(text, str) else text if isinstance(text, Sequence) else [text]
    try:
        found = tuple(float(part) for part in parts)
    except ValueError:
        found = ()
    if not found or not all(0 < share < 100 for share in found):
        raise InputError(f"percent takes numbers above 0 and below 100 with commas between, not {text!r}")
    return found


class RoadMetric(ClassifierMetric):
    """What both orders of ROAD and their difference share; options as ``road``."""

    orders: tuple[Order, ...]

    def __init__(
        self,
        classifier: Classifier,
        percent: str | float | Sequence[float] = PERCENT,
        score: RoadScore = "probability",
        fill: str | Infiller = "noisy_linear",
        draws: int = 1,
        target: FollowedClass = "predicted",
        batch: int | None = None,
        ties: Ties = "reading",
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("score", score, ("probability", "accuracy"))
        one_of("target", target, ("predicted", "class"))
        one_of("ties", ties, ("reading", "reversed"))
        self.shares, self.filled = percentages(percent), fill_of(fill, "step", draws)
        self.percent, self.fill = ",".join(f"{share:g}" for share in self.shares), self.filled.text()
        self.score, self.draws, self.target, self.ties = score, draws, target, ties

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        """What is left at each share, (N,shares), of each order side by side."""
        asked = asked_for(self.target, targets)
        found = [
            road_scores(
                self.classifier, images, maps, self.shares, self.filled, asked, order, self.score, self.batch, self.ties
            )
            for order in self.orders
        ]
        return torch.cat(found, 1).to(as_tensor(maps).device)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return 100 * total.mean(-1) / count


@metrics.register(
    "road_morf",
    family="faithfulness",
    title="ROAD, most relevant first",
    paper="Rong et al. 2022",
    says="{value} of the class's probability is left, on the mean, as the most salient pixels are painted over first",
    unit="%",
    higher_is_better=False,
    needs=("images",),
    takes=("targets",),
)
class RoadMoRF(RoadMetric):
    """What is left of the class's probability without the most salient pixels, mean over shares; as ``road``."""

    orders = ("morf",)


@metrics.register(
    "road_lerf",
    family="faithfulness",
    title="ROAD, least relevant first",
    paper="Rong et al. 2022",
    says="{value} of the class's probability is left, on the mean, as the least salient pixels are painted over first",
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class RoadLeRF(RoadMetric):
    """What is left of the class's probability without the least salient pixels, mean over shares; as ``road``."""

    orders = ("lerf",)


@metrics.register(
    "road",
    family="faithfulness",
    title="ROAD, combined",
    paper="Rong et al. 2022; combined as in pytorch-grad-cam",
    says=(
        "half of the gap between what is left of the class without the least and without the most salient "
        "pixels is {value}; 0 says that the order of the pixels is worth nothing"
    ),
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class Road(RoadMetric):
    """Does the class vanish with the salient pixels and stay without the others, when the holes are painted over?

    (LeRF - MoRF) / 2, each the mean over ``percent`` of the class's probability after so many of the least, or most,
    salient pixels were replaced by what their surroundings suggest. From -50 to 50; 0 where the order of the pixels
    says nothing.

    Args:
        classifier: gives the probabilities.
        percent: shares of the pixels that go, with commas between.
        score: the class's ``probability``, or how often it is still the likeliest (``accuracy``).
        fill: an infiller by name, with options as ``noisy_linear:noise=0``.
        draws: scores are means over so many fills by different random numbers.
        target: follow the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
        ties: which of equal pixels goes first, ``reading`` order or ``reversed``; exactly the share goes, ties or not.
    """

    orders = ("lerf", "morf")

    def __init__(
        self,
        classifier: Classifier,
        percent: str | float | Sequence[float] = PERCENT,
        score: RoadScore = "probability",
        fill: str | Infiller = "noisy_linear",
        draws: int = 1,
        target: FollowedClass = "predicted",
        batch: int | None = None,
        ties: Ties = "reading",
    ) -> None:
        super().__init__(classifier, percent, score, fill, draws, target, batch, ties)
        both = (RoadLeRF, RoadMoRF)
        self._parts = [kind(classifier, percent, score, fill, draws, target, batch, ties) for kind in both]

    def parts(self) -> Sequence[Metric]:
        return self._parts

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        least, most = (total / count[..., None]).chunk(2, -1)
        return 50 * (least - most).mean(-1)
