"""How good is a masker on pictures it was not trained on: what the classifier sees with and without the mask."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.blending import masked_in, masked_out
from maskwise.box import boxes, iou
from maskwise.classifiers import Classifier
from maskwise.core.modes import eval_mode
from maskwise.data import DataSet, Record
from maskwise.images import resize
from maskwise.maskers import Masker
from maskwise.training.objectives import prediction_entropy


@dataclass(frozen=True)
class Quality:
    """Of a set of masks, in percent where nothing else is said.

    Attributes:
        clean: pictures that the classifier names as its labels say.
        masked_in: the same with all but the mask hidden; higher is better.
        masked_out: the same with the mask hidden; lower is better.
        area: mean mask.
        objective: (cross entropy of masked-in - entropy of masked-out) / 2, in nats; lower is better.
        localisation_error: boxes with IoU <= 0.5; None without ground truth.
    """

    clean: float
    masked_in: float
    masked_out: float
    area: float
    objective: float
    localisation_error: float | None = None


class Validation:
    """Held-out pictures, squashed to one size and kept in memory.

    Args:
        pictures: (data set, record) pairs.
        labels: class of each.
        size: pixels.
    """

    def __init__(
        self, pictures: Sequence[tuple[DataSet, Record]], labels: Sequence[int], classifier: Classifier, size: int
    ) -> None:
        self.classifier = classifier
        samples = [data.sample(record) for data, record in pictures]
        self.images = torch.cat([resize(s.image[None], size) for s in samples])
        self.labels = torch.tensor(list(labels))
        self.truth = [s.boxes * s.boxes.new_tensor([size / s.width, size / s.height] * 2) for s in samples]

    @torch.inference_mode()
    def masks(self, masker: Masker) -> Tensor:
        """(N,H,W) on the CPU; the masker is in eval mode for it, and each part of it as it was after."""
        with eval_mode(masker):
            masks = [masker(self._there(chunk))[1].float().cpu() for chunk in self.images.split(self.classifier.batch)]
        return torch.cat(masks)

    def centre(self, masks: Tensor) -> Tensor:
        """For each mask a square in the middle that is as large as its mean: what no masker needs to learn."""
        side = self.images.shape[-1]
        half = masks.mean((1, 2), dtype=torch.float64).sqrt() * side / 2
        away = (torch.arange(side) + 0.5 - side / 2).abs()
        inside = away[None] <= half[:, None]
        return (inside[:, :, None] & inside[:, None]).float()

    @torch.inference_mode()
    def quality(self, masks: Tensor) -> Quality:
        """Of masks (N,H,W), one for each picture."""
        fill = self.classifier.mean.reshape(1, -1, 1, 1)
        batch = self.classifier.batch
        logits: dict[str, list[Tensor]] = {"clean": [], "in": [], "out": []}
        for images, mask in zip(self.images.split(batch), masks.split(batch), strict=True):
            images, mask = self._there(images), mask.to(fill.device)
            logits["clean"].append(self.classifier.logits(images).cpu())
            logits["in"].append(self.classifier.logits(masked_in(images, mask, fill)).cpu())
            logits["out"].append(self.classifier.logits(masked_out(images, mask, fill)).cpu())
        seen = {side: torch.cat(parts) for side, parts in logits.items()}
        right = {side: 100 * float((s.argmax(1) == self.labels).double().mean()) for side, s in seen.items()}
        inside = torch.nn.functional.cross_entropy(seen["in"], self.labels)
        objective = float(inside - prediction_entropy(seen["out"]).mean()) / 2
        return Quality(
            right["clean"], right["in"], right["out"], float(masks.mean()), objective, self._localisation_error(masks)
        )

    def _localisation_error(self, masks: Tensor) -> float | None:
        there = [i for i, truth in enumerate(self.truth) if len(truth)]
        if not there:
            return None
        found = boxes(masks[there])
        missed = [float(iou(found[k : k + 1], self.truth[i]).max()) <= 0.5 for k, i in enumerate(there)]
        return 100 * sum(missed) / len(missed)

    def _there(self, images: Tensor) -> Tensor:
        return images.to(self.classifier.device).contiguous(memory_format=torch.channels_last)
