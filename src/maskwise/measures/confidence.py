"""Average drop and increase in confidence: is the map's part of the picture enough? (Chattopadhay et al. 2018)"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.box import as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.options import one_of
from maskwise.measures.base import metrics
from maskwise.measures.inputs import fitting_maps, unit_maps
from maskwise.measures.scoring import (
    ClassifierMetric,
    FollowedClass,
    asked_for,
    classes_followed,
    log_probabilities,
    whole_log_probabilities,
)
from maskwise.measures.shared_scores import shared


def confidences(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | np.ndarray,
    targets: Tensor | None = None,
    batch: int | None = None,
) -> tuple[Tensor, Tensor]:
    """Probabilities (N,), float64, of each picture's class for the whole picture and for x m + mean colour (1 - m).

    Args:
        classifier: gives the probabilities.
        images: (N,3,H,W) in [0,1].
        maps: (N,H,W) in [0,1].
        targets: (N,) classes; None: the likeliest of each whole picture.
        batch: pictures in one forward; None: 8 on a CPU, 64 elsewhere.
    """
    maps = fitting_maps(images, unit_maps(as_tensor(maps)))
    images, maps = images.to(classifier.device), maps.to(classifier.device)
    whole = whole_log_probabilities(classifier, images, batch)
    classes = classes_followed(whole, targets)
    fill = classifier.mean[None, :, None, None]
    part = log_probabilities(
        classifier, len(images), lambda rows: masked_in(images[rows], maps[rows], fill), batch, classes
    )
    return whole.gather(1, classes[:, None])[:, 0].exp(), part.exp()


@metrics.register(
    "average_drop",
    family="faithfulness",
    title="average drop",
    paper="Chattopadhay et al. 2018, section 4.1",
    says="the class loses {value} of its probability, on the mean, where the classifier sees the marked part alone",
    unit="%",
    higher_is_better=False,
    needs=("images",),
    takes=("targets",),
)
class AverageDrop(ClassifierMetric):
    """Mean of max(0, Y - O) / Y, of the class's probability Y for the whole picture and O for the masked-in one.

    Args:
        classifier: gives the probabilities.
        target: the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: pictures in one forward; None: 8 on a CPU, 64 elsewhere.
    """

    def __init__(self, classifier: Classifier, target: FollowedClass = "predicted", batch: int | None = None) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("target", target, ("predicted", "class"))
        self.target = target

    def compared(self, whole: Tensor, part: Tensor) -> Tensor:
        """(N,) of the two probabilities."""
        return (whole - part).clamp(min=0) / whole.where(whole > 0, 1)  # who has nothing loses nothing

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        asked = asked_for(self.target, targets)
        whole, part = shared(confidences, self.classifier, images, maps, asked, self.batch)
        return 100 * self.compared(whole, part)[:, None].to(as_tensor(maps).device)


@metrics.register(
    "increase_in_confidence",
    family="faithfulness",
    title="increase in confidence",
    paper="Chattopadhay et al. 2018, section 4.1",
    says="in {value} of the pictures the class is likelier where the classifier sees the marked part alone",
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class IncreaseInConfidence(AverageDrop):
    """Share of pictures whose class is likelier for the masked-in picture than for the whole; options likewise."""

    def compared(self, whole: Tensor, part: Tensor) -> Tensor:
        return (part > whole).double()


@metrics.register(
    "average_gain",
    family="faithfulness",
    title="average gain",
    paper="Zhang et al. 2024 (Opti-CAM)",
    says=(
        "seeing the salient part alone closes {value} of the gap to certainty on the mean, and 0 of it where the "
        "classifier is no surer"
    ),
    unit="%",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class AverageGain(AverageDrop):
    """How much surer is the classifier of its class when it sees the salient part alone?

    Mean of max(0, O - Y) / (1 - Y), which is ``average_drop`` for the other direction; options likewise. Read both: a
    map of ones drops nothing, and gains nothing.
    """

    def compared(self, whole: Tensor, part: Tensor) -> Tensor:
        unsure = 1 - whole
        return (part - whole).clamp(min=0) / unsure.where(unsure > 0, 1)
