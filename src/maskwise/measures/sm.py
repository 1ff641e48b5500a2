"""The saliency metric (SM): how small is the crop, and how sure of it the classifier? (Dabkowski & Gal 2017, Eq. 10)"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.box import Rule
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.images import resize as squashed
from maskwise.measures.base import metrics
from maskwise.measures.inputs import classes_of
from maskwise.measures.localisation import BoxMetric
from maskwise.measures.scoring import ClassifierMetric, log_probabilities
from maskwise.measures.truth import truth_of

CropResize = Literal["bilinear", "cubic"]
Empty = Literal["mean", "whole"]
FLOOR = 0.05
CENTRE_BORDER = 33 / 224  # of the side; leaves 158 x 158 of 224 x 224 pixels, half of the area


def saliency_metric(
    classifier: Classifier,
    images: Tensor,
    boxes: Tensor,
    labels: Tensor,
    resize: CropResize = "bilinear",
    empty: Empty = "mean",
    batch: int | None = None,
) -> Tensor:
    """log max(a, 0.05) - log p (N,), float64, in nats.

    a is the part of the picture that the box covers, p the probability of the class when the crop alone, stretched to
    the input size, is classified.

    Args:
        classifier: gives the probability p.
        images: (N,3,H,W) in [0,1].
        boxes: (N,4), half open; brought to whole pixels and cut at the border.
        labels: (N,) classes; unknown ones (-1) give NaN.
        resize: of the crop, ``bilinear``, or ``cubic`` as the code that Phang et al. released does.
        empty: for a box without area, the ``mean`` colour with a = 0 (as released), or the ``whole`` picture.
        batch: crops in one forward; None: 8 on a CPU, 64 elsewhere.

    Raises:
        InputError: numbers of pictures that differ, or an unknown class or option.
    """
    one_of("resize", resize, ("bilinear", "cubic"))
    one_of("empty", empty, ("mean", "whole"))
    if not len(images) == len(boxes) == len(labels):
        raise InputError(f"{len(images)} images, {len(boxes)} boxes and {len(labels)} labels must be as many")
    height, width = images.shape[-2:]
    images = images.to(classifier.device)
    labels = classes_of(labels, len(images), len(classifier.labels), "labels").to(images.device)
    edges = torch.as_tensor(boxes).to(images.device).round().long().clamp(min=0)
    edges = edges.minimum(edges.new_tensor([width, height] * 2))
    if empty == "whole":
        without = (edges[:, 2:] <= edges[:, :2]).any(1)
        edges = torch.where(without[:, None], edges.new_tensor([0, 0, width, height]), edges)
    share = (edges[:, 2:] - edges[:, :2]).clamp(min=0).prod(1).double() / (height * width)
    corners = edges.tolist()

    def crops(rows: Tensor) -> Tensor:
        return torch.cat([_crop(classifier, images[n], corners[n], resize) for n in rows.tolist()])

    sure = log_probabilities(classifier, len(images), crops, batch, labels.clamp(min=0))
    return (share.clamp(min=FLOOR).log() - sure).masked_fill(labels < 0, torch.nan)


def _crop(classifier: Classifier, image: Tensor, box: Sequence[int], how: CropResize) -> Tensor:
    """The part (1,C,h,w) of an image (C,H,W) at the classifier's input size; an empty box gives the mean colour."""
    x0, y0, x1, y1 = box
    if x1 <= x0 or y1 <= y0:
        # Of grey pictures, which data sets hold in colour, the mean is one value.
        return classifier.mean[None, :, None, None].expand(1, len(image), *classifier.size).to(image)
    part = image[None, :, y0:y1, x0:x1]
    if how == "bilinear":
        return squashed(part, classifier.size)
    return F.interpolate(part, classifier.size, mode="bicubic", align_corners=False)


def reference_boxes(kind: Literal["max", "center"], images: Tensor) -> Tensor:
    """Boxes (N,4) that know nothing of images (N,3,H,W): the whole, or the centre of half the area."""
    one_of("kind", kind, ("max", "center"))
    height, width = images.shape[-2:]
    x, y = (0, 0) if kind == "max" else (round(width * CENTRE_BORDER), round(height * CENTRE_BORDER))
    return torch.tensor([[x, y, width - x, height - y]]).expand(len(images), -1)


def ground_truth_sm(
    classifier: Classifier,
    images: Tensor,
    boxes: Sequence[Tensor],
    labels: Tensor,
    resize: CropResize = "bilinear",
    batch: int | None = None,
) -> Tensor:
    """SM (N,) of the ground truth: the mean over the boxes of each picture, [(M,4), …], cut at its border.

    A picture without boxes gives NaN. Other arguments as ``saliency_metric``.
    """
    truth = truth_of(boxes, len(images))
    owner, labels = truth.owner.to(images.device), torch.as_tensor(labels)
    scores = saliency_metric(classifier, images[owner], truth.boxes, labels[truth.owner], resize, batch=batch)
    return truth.mean(scores.cpu()).to(scores.device)


@metrics.register(
    "sm",
    family="faithfulness",
    title="saliency metric",
    paper="Dabkowski & Gal 2017, Eq. 10; Phang et al. 2020",
    says=(
        "of a crop around the map the score is {value}: a small box whose content the classifier still knows "
        "has a low one"
    ),
    unit="nats",
    higher_is_better=False,
    needs=("images", "labels"),
)
class SaliencyMetric(ClassifierMetric, BoxMetric):
    """``saliency_metric`` of the box around the map and the true class.

    Args:
        classifier: is shown the crop; the papers take the one that was never trained on masked pictures.
        rule: how the map becomes a box, see ``BoxMetric``; the next four likewise.
        resize: ``bilinear`` or ``cubic``.
        empty: what an empty box is, the ``mean`` colour or the ``whole`` picture.
        batch: crops in one forward; None: 8 on a CPU, 64 elsewhere.
    """

    def __init__(
        self,
        classifier: Classifier,
        rule: Rule = "value",
        alpha: float = 1.0,
        connectivity: Literal[4, 8] = 4,
        component: bool = True,
        box: Literal["inclusive", "exclusive"] = "inclusive",
        resize: CropResize = "bilinear",
        empty: Empty = "mean",
        batch: int | None = None,
    ) -> None:
        super().__init__(rule, alpha, connectivity, component, box)
        self.ask(classifier, batch)
        one_of("resize", resize, ("bilinear", "cubic"))
        one_of("empty", empty, ("mean", "whole"))
        self.resize, self.empty = resize, empty

    def per_image(self, maps: Tensor, *, images: Tensor, labels: Tensor) -> Tensor:
        boxes = self.predicted(maps)
        scores = saliency_metric(self.classifier, images, boxes, labels, self.resize, self.empty, self.batch)
        return scores[:, None].to(boxes.device)
