"""What masking a picture does to a class: its probability on the whole, masked-in, masked-out and inpainted picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.classifiers import Classifier
from maskwise.core.text import probabilities_said


@dataclass(frozen=True)
class MaskedConfidence:
    """A class's probability, in [0,1], on a picture and on what masking makes of it.

    Of a network whose outputs are taken as they are it is that output, and may be any number.

    Attributes:
        of: the class's name.
        whole: on the picture itself.
        masked_in: where only the salient part is left, the rest in the classifier's mean colour.
        masked_out: where the salient part has that colour.
        inpainted: where the salient part is painted over from its surroundings.
    """

    of: str
    whole: float
    masked_in: float
    masked_out: float
    inpainted: float

    @property
    def values(self) -> tuple[float, float, float, float]:
        """Whole, masked-in, masked-out, inpainted."""
        return self.whole, self.masked_in, self.masked_out, self.inpainted

    @property
    def said(self) -> list[str]:
        """The values as percentages, or as they are where they are no probabilities."""
        return probabilities_said(self.values)


def masked_confidences(
    classifier: Classifier, images: Tensor, keep: Tensor, inpainted: Tensor, classes: Sequence[int]
) -> list[MaskedConfidence]:
    """Of each picture's class.

    Args:
        classifier: gives the probabilities.
        images: (N,3,H,W) in [0,1].
        keep: (N,H,W) bool, the salient parts.
        inpainted: (N,3,H,W), the pictures whose salient parts are painted over.
        classes: N indices.
    """
    # Of a classifier of grey pictures the mean is one value, for all three channels of the picture.
    fill = classifier.mean.cpu().reshape(1, -1, 1, 1)
    kinds = (images, masked_in(images, keep, fill), masked_out(images, keep, fill), inpainted)
    chosen = torch.tensor(list(classes))[:, None]
    with torch.inference_mode():
        # One kind after another: four times as many pictures at once would take four times the memory.
        found = [
            classifier.probabilities(classifier.logits(classifier.prepare(kind)).float()).cpu().gather(1, chosen)
            for kind in kinds
        ]
    return [
        MaskedConfidence(classifier.labels.name(int(index)), *(float(p) for p in row))
        for index, row in zip(classes, torch.cat(found, 1), strict=True)
    ]
