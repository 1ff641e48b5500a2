"""Conciseness-preciseness (CP): what a mask keeps of the class, over what of the picture (Kolek et al. 2023)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from maskwise.box import as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.options import in_range, one_of
from maskwise.measures.base import metrics
from maskwise.measures.confidence import confidences
from maskwise.measures.inputs import fitting_maps, unit_maps
from maskwise.measures.scoring import ClassifierMetric, FollowedClass, asked_for
from maskwise.measures.shared_scores import shared

Information = Literal["l1", "entropy"]


def kept_information(images: Tensor, maps: Tensor, information: Information = "l1") -> Tensor:
    """How much of each picture's information x m keeps (N,), float64, in [0,1] for ``l1``.

    Args:
        images: (N,C,H,W) in [0,1].
        maps: (N,H,W) in [0,1].
        information: ``l1``, the sum of the values; or ``entropy`` of the squared values' share in their sum. Of a
            black picture all is kept.
    """
    one_of("information", information, ("l1", "entropy"))
    images = images.double()
    part, whole = (_amount(x.flatten(1), information) for x in (images * maps[:, None].to(images), images))
    return torch.where(whole > 0, part / whole.where(whole > 0, 1), 1.0)


def _amount(values: Tensor, information: Information) -> Tensor:
    if information == "l1":
        return values.sum(1)
    energy = values.square()
    share = energy / energy.sum(1, keepdim=True).clamp(min=1e-300)
    amount: Tensor = -torch.special.xlogy(share, share).sum(1)
    return amount


@metrics.register(
    "conciseness_preciseness",
    family="mask statistics",
    title="conciseness-preciseness",
    paper="Kolek et al. 2023 (ShearletX)",
    says=(
        "the masked-in picture keeps {value} times as much of the class as of the picture's information: "
        "above 1 it keeps the right part"
    ),
    unit="",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class ConcisenessPreciseness(ClassifierMetric):
    """Does the mask keep much of the class in little of the picture?

    (p of the masked-in picture / p of the whole) / (information kept / information of the whole): 1 for a mask that
    keeps everything, more where the class is kept and the picture is not. The class stays the same for both, unlike
    in the released code, which takes the likeliest of each.

    Args:
        classifier: gives the probabilities p; what the mask hides is its mean colour.
        information: ``l1`` or ``entropy``, see ``kept_information``.
        floor: least share of the information that is divided by: a mask of a few pixels would outweigh all others.
            0 is the paper's; a mask of zeros counts 0 then.
        target: the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: pictures in one forward; None: 8 on a CPU, 64 elsewhere.
    """

    def __init__(
        self,
        classifier: Classifier,
        information: Information = "l1",
        floor: float = 0.01,
        target: FollowedClass = "predicted",
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("information", information, ("l1", "entropy"))
        one_of("target", target, ("predicted", "class"))
        in_range("floor", floor, 0, 1)
        self.information, self.floor, self.target = information, floor, target

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        asked = asked_for(self.target, targets)
        whole, part = shared(confidences, self.classifier, images, maps, asked, self.batch)
        maps = fitting_maps(images, unit_maps(as_tensor(maps)))
        kept = kept_information(images, maps, self.information).to(whole.device).clamp(min=self.floor)
        found = torch.where(kept > 0, part / whole / kept.where(kept > 0, 1), 0.0)
        return found[:, None].to(maps.device)
