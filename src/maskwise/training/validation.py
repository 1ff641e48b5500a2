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
from maskwise.data.damaged import says_how_to_skip
from maskwise.images import resize, with_channels
from maskwise.maskers import Masker
from maskwise.training.likelihood import Bernoulli, Likelihood, likelihood_of


@dataclass(frozen=True)
class Quality:
    """Of a set of masks, in percent where nothing else is said.

    Attributes:
        clean: pictures that the classifier names as their labels say; of a network with sigmoid outputs those in which
            it finds exactly their findings.
        masked_in: the same with all but the mask hidden; higher is better.
        masked_out: pictures that it still names so with the mask hidden, of sigmoid outputs those in which it still
            sees one of their findings; lower is better.
        area: mean mask.
        objective: (cross entropy of masked-in - entropy of masked-out) / 2, in nats (see ``Likelihood``); lower is
            better.
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
        size: a square's side, or (h,w).
        findings: (N,K) bool, for a network with sigmoid outputs: what each picture shows; None is its class alone.
    """

    def __init__(
        self,
        pictures: Sequence[tuple[DataSet, Record]],
        labels: Sequence[int],
        classifier: Classifier,
        size: int | tuple[int, int],
        findings: Tensor | None = None,
    ) -> None:
        self.classifier, self.likelihood = classifier, likelihood_of(classifier)
        with says_how_to_skip():
            samples = [data.sample(record) for data, record in pictures]
        self.images = torch.cat([resize(with_channels(s.image[None], classifier.channels), size) for s in samples])
        height, width = self.images.shape[-2:]
        self.labels = torch.tensor(list(labels))
        self.targets = self.labels if findings is None else findings
        if findings is None and isinstance(self.likelihood, Bernoulli):
            self.targets = torch.nn.functional.one_hot(self.labels, len(classifier.labels)).bool()
        self.truth = [s.boxes * s.boxes.new_tensor([width / s.width, height / s.height] * 2) for s in samples]

    @torch.inference_mode()
    def masks(self, masker: Masker) -> Tensor:
        """(N,H,W) on the CPU; the masker is in eval mode for it, and each part of it as it was after."""
        with eval_mode(masker):
            masks = [self._masks(masker, chunk).float().cpu() for chunk in self.images.split(self.classifier.batch)]
        return torch.cat(masks)

    def _masks(self, masker: Masker, images: Tensor) -> Tensor:
        """Of the top class, where a masker reads one: that of its encoder, if it is a classifier, or of this one."""
        images = self._there(images)
        if masker.shares_encoder or not masker.needs_class:
            masks: Tensor = masker(images)[1]
            return masks
        classes = self.classifier.logits(self.classifier.prepare(images)).argmax(1, keepdim=True)
        of_class: Tensor = masker(images, classes)[1][:, 0]
        return of_class

    def centre(self, masks: Tensor) -> Tensor:
        """For each mask a part in the middle that is as large as its mean: what no masker needs to learn.

        It has the shape of the pictures: of square ones it is a square.
        """
        scale = masks.mean((1, 2), dtype=torch.float64).sqrt()
        down, across = (_middle(scale, side) for side in self.images.shape[-2:])
        return (down[:, :, None] & across[:, None]).float()

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
        answer, targets = self.likelihood, self.targets
        clean, inside = (_percent(answer.right(seen[side], targets)) for side in ("clean", "in"))
        outside = _percent(answer.shows(seen["out"], targets))
        objective = float(mask_objectives(answer, seen["in"], seen["out"], targets).mean())
        return Quality(clean, inside, outside, float(masks.mean()), objective, self._localisation_error(masks))

    def _localisation_error(self, masks: Tensor) -> float | None:
        there = [i for i, truth in enumerate(self.truth) if len(truth)]
        if not there:
            return None
        found = boxes(masks[there])
        missed = [float(iou(found[k : k + 1], self.truth[i]).max()) <= 0.5 for k, i in enumerate(there)]
        return 100 * sum(missed) / len(missed)

    def _there(self, images: Tensor) -> Tensor:
        return images.to(self.classifier.device).contiguous(memory_format=torch.channels_last)


def mask_objectives(answer: Likelihood, inside: Tensor, outside: Tensor, targets: Tensor) -> Tensor:
    """(N,): (cross entropy of masked-in - entropy of masked-out) / 2 of each picture, in nats; lower is better.

    Args:
        answer: what logits say.
        inside, outside: (N,C) logits of the masked-in and of the masked-out pictures.
        targets: N labels, as ``answer`` takes them.
    """
    pairs = zip(inside.split(1), targets.split(1), strict=True)
    seen = torch.stack([answer.cross_entropy(*pair) for pair in pairs])
    return (seen - answer.entropy(outside, targets)) / 2


def _middle(scale: Tensor, side: int) -> Tensor:
    """(N,side) bool: is a pixel in the middle ``scale`` (N,) of a side?"""
    away = (torch.arange(side) + 0.5 - side / 2).abs()
    return away[None] <= (scale * side / 2)[:, None]


def _percent(which: Tensor) -> float:
    return 100 * float(which.double().mean())
