"""An explained picture as a card of the report page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, get_args

import torch
from torch import Tensor

from maskwise.box import binarise
from maskwise.explain import nothing_said
from maskwise.explainers.targets import class_of_description
from maskwise.images import resize_maps
from maskwise.measures.perturbation import CurveKind, curves
from maskwise.report.masked_confidence import masked_confidences
from maskwise.report.page_cards import Answer, card

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.explain import Explanation, Looked, Panels

STEP = "3.571%"  # 8 rows of 224, as RISE takes it


def picture_curve(
    classifier: Classifier, image: Tensor, saliency: Tensor, target: int | None, kind: CurveKind
) -> list[float]:
    """Insertion or deletion of one picture, at the classifier's input size: a probability for each step.

    Args:
        classifier: gives the probabilities.
        image: (C,H,W) in [0,1], of any size.
        saliency: (H,W), its map.
        target: class; None: the likeliest of the whole picture.
        kind: ``insertion`` or ``deletion``.
    """
    images = classifier.prepare(image[None])
    maps = resize_maps(saliency[None], classifier.size)
    targets = None if target is None else torch.tensor([target])
    probabilities: list[float] = curves(classifier, images, maps, targets, kind, STEP)[0].tolist()
    return probabilities


def card_of(
    explanation: Explanation, panels: Panels, classifier: Classifier, with_curves: bool = False
) -> dict[str, Any]:
    """The card of one picture.

    Args:
        explanation, panels: as ``explain_picture`` gives them.
        classifier: the one that is explained.
        with_curves: also insertion and deletion, at the classifier's input size; 56 forwards.
    """
    found: dict[str, list[float]] = {}
    named = explanation.target or explanation.top[0][0]
    # A name may stand for two classes; the likeliest one is never ambiguous.
    target = None if named == explanation.top[0][0] else class_of_description(named, classifier.labels)
    images, keep = panels.image[None], binarise(panels.map[None])
    followed = likeliest(classifier, images) if target is None else target
    (confidence,) = masked_confidences(classifier, images, keep, panels.inpainted[None], [followed])
    if with_curves:
        for kind in get_args(CurveKind):
            found[kind] = picture_curve(classifier, panels.image, panels.map, target, kind)
    answer = Answer(
        explanation.called,
        panels.map,
        keep[0],
        explanation.box,
        panels.inpainted,
        explanation.target,
        seconds=explanation.seconds,
        warnings=explanation.warnings,
        insertion=found.get("insertion"),
        deletion=found.get("deletion"),
        scale=panels.scale,
        confidence=confidence,
    )
    return card(explanation.picture, panels.image, [answer], explanation.top)


def one_card(cards: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Cards of one picture, at least one, as one with the answers of all."""
    return cards[0] | {"answers": [answer for one in cards for answer in one["answers"]]}


def nothing_card(look: Looked) -> dict[str, Any]:
    """The card of a picture in which nothing is found."""
    return card(str(look.path), look.image[0], [], look.top, note=nothing_said(look.classifier.name, look.top[0]))


def likeliest(classifier: Classifier, images: Tensor) -> int:
    """The index of the likeliest class of one picture (1,3,H,W)."""
    with torch.inference_mode():
        return int(classifier.logits(classifier.prepare(images))[0].argmax())
