"""An explained picture as a card of the report page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from maskwise.box import binarise
from maskwise.images import resize
from maskwise.measures.perturbation import curves
from maskwise.report.page_cards import Answer, card

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.explain import Explanation, Panels

STEP = "3.571%"  # 8 rows of 224, as RISE takes it


def card_of(
    explanation: Explanation, panels: Panels, classifier: Classifier, with_curves: bool = False
) -> dict[str, Any]:
    """The card of one picture.

    Args:
        explanation, panels: as ``explain_picture`` gives them.
        classifier: name of the explained classifier.
        with_curves: also insertion and deletion, at the classifier's input size; 56 forwards.
    """
    found: dict[str, list[float]] = {}
    if with_curves:
        image, side = classifier.prepare(panels.image[None]), classifier.input_size
        saliency = resize(panels.map[None, None], side)[:, 0]
        named = explanation.target or explanation.top[0][0]
        # A name may stand for two classes; the likeliest one is never ambiguous.
        target = None if named == explanation.top[0][0] else torch.tensor([classifier.labels.resolve(named)])
        found["insertion"] = curves(classifier, image, saliency, target, "insertion", STEP)[0].tolist()
        found["deletion"] = curves(classifier, image, saliency, target, "deletion", STEP)[0].tolist()
    answer = Answer(
        explanation.method if explanation.sess is None else f"{explanation.method} + SESS",
        panels.map,
        binarise(panels.map[None])[0],
        explanation.box,
        panels.inpainted,
        explanation.target,
        seconds=explanation.seconds,
        insertion=found.get("insertion"),
        deletion=found.get("deletion"),
    )
    return card(explanation.picture, panels.image, [answer], explanation.top)
