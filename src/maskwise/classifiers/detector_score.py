"""Scores of a detector's boxes, so that what explains classifiers explains detectors (D-RISE's score)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.one_picture import classifier_of_scores, one_picture
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode


class DetectorScore(nn.Module):
    """For each box of a picture, how well what a detector finds in a changed copy matches it (Petsiuk et al. 2021).

    s_k = max_j IoU(b_k, b_j) * o_j * cos(c_k, c_j) over the detections j of the copy, with o_j their confidence. Where
    detections have a ``label`` alone, the cosine is 1 for the same label and 0 for another; where they have
    ``probabilities`` (M,C) it is that of those. Without a detection it is 0.

    The columns belong to that one picture: explain no other with them.

    Args:
        detector: as torchvision's: from a list of pictures (C,H,W) in [0,1] to a list of dictionaries with ``boxes``
            (M,4) as x0,y0,x1,y1 in pixels, ``labels`` (M,) and ``scores`` (M,). Let it keep weak boxes
            (``box_score_thresh=0.01``, ``box_nms_thresh=0.9``): a box that is cut off scores 0 at once.
        image: (C,H,W) or (1,C,H,W) in [0,1], at the size at which it is to be explained.
        least: confidence of the boxes that become columns.
        most: number of them, the most confident ones.
        names: of the detector's labels, by index.

    Attributes:
        boxes: (K,4) as shares of width and height.
        labels, confidences: (K,).
        names: of the columns, as ``2 dog 0.93``.

    Raises:
        InputError: a detector of another kind, or one that finds nothing in the picture.

    Example:
        >>> class Middle(nn.Module):
        ...     def forward(self, images):
        ...         boxes = torch.tensor([[2.0, 2.0, 6.0, 6.0]])
        ...         return [{"boxes": boxes, "labels": torch.tensor([1]), "scores": x.mean()[None]} for x in images]
        >>> score = DetectorScore(Middle(), torch.full((3, 8, 8), 0.5))
        >>> score(torch.full((1, 3, 8, 8), 0.25))
        tensor([[0.2500]])
    """

    boxes: Tensor
    labels: Tensor
    confidences: Tensor
    kinds: Tensor

    def __init__(
        self, detector: nn.Module, image: Tensor, *, least: float = 0.5, most: int = 20, names: Sequence[str] = ()
    ) -> None:
        super().__init__()
        image = one_picture(image)
        self.detector, self.size = detector, (image.shape[-2], image.shape[-1])
        with torch.inference_mode(False), torch.no_grad(), eval_mode(detector):
            (found,) = self._found(image)
        order = found["scores"].argsort(descending=True, stable=True)
        kept = [int(i) for i in order if found["scores"][i] >= least][:most]
        if not kept:
            best = f"the best has {float(found['scores'].max()):.3g}" if len(order) else "it finds none"
            raise InputError(f"the detector finds no box of confidence {least:g} in the picture, {best}: lower `least`")
        self.register_buffer("boxes", self._shares(found["boxes"][kept], self.size))
        self.register_buffer("labels", found["labels"][kept].clone())
        self.register_buffer("confidences", found["scores"][kept].clone())
        kinds = found["probabilities"][kept] if "probabilities" in found else torch.zeros(len(kept), 0)
        self.register_buffer("kinds", kinds.clone())
        called = [names[int(i)] if int(i) < len(names) else f"label {int(i)}" for i in self.labels]
        self.names = tuple(f"{k} {n} {float(self.confidences[k]):.2f}" for k, n in enumerate(called))

    def forward(self, images: Tensor) -> Tensor:
        size = (images.shape[-2], images.shape[-1])
        return torch.stack([self._scores(found, size) for found in self._found(images)])

    def classifier(self, name: str = "detector") -> Classifier:
        """A classifier on pictures in [0,1] whose classes are the boxes, and whose scores are taken as they are.

        Hidden pixels are black, as in D-RISE.
        """
        return classifier_of_scores(self, self.names, self.size, name)

    def _found(self, images: Tensor) -> list[Mapping[str, Tensor]]:
        found: Any = self.detector(list(images))
        fits = isinstance(found, Sequence) and len(found) == len(images)
        if not fits or not all(isinstance(one, Mapping) and {"boxes", "labels", "scores"} <= set(one) for one in found):
            raise InputError("a detector gives a list of dictionaries, one a picture, with boxes, labels and scores")
        return list(found)

    def _scores(self, found: Mapping[str, Tensor], size: tuple[int, int]) -> Tensor:
        boxes, scores = self._shares(found["boxes"], size), found["scores"]
        if not len(scores):
            # Sums of nothing: zeros that still hang on the network, so that they can be differentiated.
            return (scores.sum() + boxes.sum()).expand(len(self.boxes))
        if "probabilities" in found:
            alike = nn.functional.cosine_similarity(self.kinds[:, None], found["probabilities"][None], dim=-1)
        else:
            alike = (self.labels[:, None] == found["labels"][None]).to(scores)
        return (_overlaps(self.boxes.to(boxes), boxes) * scores * alike).amax(1)

    @staticmethod
    def _shares(boxes: Tensor, size: tuple[int, int]) -> Tensor:
        height, width = size
        return boxes / boxes.new_tensor([width, height, width, height])


def _overlaps(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union (K,M) of boxes (K,4) and (M,4); 0 where both are empty."""
    low, high = torch.maximum(a[:, None, :2], b[None, :, :2]), torch.minimum(a[:, None, 2:], b[None, :, 2:])
    both = (high - low).clamp(min=0).prod(-1)
    area_a, area_b = ((x[:, 2:] - x[:, :2]).clamp(min=0).prod(-1) for x in (a, b))
    return both / (area_a[:, None] + area_b[None] - both).clamp(min=1e-12)
