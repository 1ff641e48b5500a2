"""A batch of pictures at the classifier's input size, with their truth and the classifier's answer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.data import Sample
from maskwise.errors import InputError

Resize = Literal["squash", "crop"]
Target = Literal["predicted", "label"]


@dataclass(frozen=True)
class Batch:
    """N pictures.

    Attributes:
        samples: at the input size, boxes and masks moved along.
        keys: who each picture is, by its pixels and its truth: what rows on disk are filed under.
        images: (N,3,S,S).
        probabilities: (N,C) of the classifier on the whole pictures.
        targets: (N,) int64, the classes that are explained.
        labels: (N,) int64, -1 where none is known.
    """

    samples: list[Sample]
    keys: list[str]
    images: Tensor
    probabilities: Tensor
    targets: Tensor
    labels: Tensor

    @classmethod
    def of(cls, samples: Sequence[Sample], classifier: Classifier, resize: Resize, target: Target) -> Batch:
        """From pictures of any size.

        Args:
            samples: as they are stored.
            classifier: scores them.
            resize: ``squash`` to the input size, or ``crop``: shorter side to it, then the centre, as CASM does.
            target: explain the ``predicted`` class or the ``label``; without a label the predicted one.

        Raises:
            InputError: the classifier gives NaN, or a label that it does not have.
        """
        size = classifier.input_size
        fitted = [s.resized(size) if resize == "squash" else s.shorter_side_crop(size, clip=False) for s in samples]
        images = torch.stack([sample.image for sample in fitted])
        labels = torch.tensor([-1 if sample.label is None else sample.label for sample in fitted])
        if labels.max() >= len(classifier.labels):
            raise InputError(
                f"{fitted[int(labels.argmax())].id}: has label {int(labels.max())}, and {classifier.name} knows "
                f"{len(classifier.labels)} classes"
            )
        with torch.inference_mode():
            probabilities = classifier.scores(images.to(classifier.device)).float().softmax(1).cpu()
        if not probabilities.isfinite().all():
            raise InputError(f"{classifier.name} gives NaN as scores; its weights are broken")
        predicted = probabilities.argmax(1)
        targets = torch.where(labels >= 0, labels, predicted) if target == "label" else predicted
        return cls(fitted, [_key(sample) for sample in fitted], images, probabilities.clone(), targets, labels)

    def has(self, name: str) -> list[bool]:
        """Which pictures know the truth ``name`` (see ``Metric``)."""
        if name == "boxes":
            return [len(_boxes(sample)) > 0 for sample in self.samples]
        if name == "masks":
            return [sample.mask is not None for sample in self.samples]
        if name == "ignore":
            return [sample.ignore is not None for sample in self.samples]
        if name == "regions":
            return [bool(self._regions(i)) for i in range(len(self.samples))]
        if name == "labels":
            return (self.labels >= 0).tolist()
        return [name in ("images", "targets", "probabilities")] * len(self.samples)

    def truth(self, names: Sequence[str], rows: Sequence[int]) -> dict[str, Any]:
        """Keywords for ``Metric.per_image`` on pictures ``rows``; what none of them knows is left out."""
        known = {name: self.has(name) for name in names}
        return {name: self._one(name, rows) for name in names if any(known[name][i] for i in rows)}

    def _one(self, name: str, rows: Sequence[int]) -> Any:
        chosen = [self.samples[i] for i in rows]
        if name == "boxes":
            return [_boxes(sample) for sample in chosen]
        if name in ("masks", "ignore"):
            blank = torch.zeros(self.images.shape[-2:], dtype=torch.bool)
            found = [sample.mask if name == "masks" else sample.ignore for sample in chosen]
            return torch.stack([blank if pixels is None else pixels for pixels in found])
        if name == "regions":
            return [self._regions(i) for i in rows]
        return getattr(self, name)[list(rows)]

    def _regions(self, i: int) -> dict[int, Tensor]:
        """The pixels of the picture's object, under its class.

        A data set's classes need not be the classifier's: a picture of several classes that has none of its own says
        nothing of the class explained.
        """
        sample = self.samples[i]
        regions = sample.regions()
        for own in (sample.category, sample.label):
            if own in regions:
                return {own: regions[own]}
        return regions if len(regions) == 1 else {}


def _boxes(sample: Sample) -> Tensor:
    """The boxes of the picture's own class, or all of them where it has none."""
    return sample.boxes if sample.category is None else sample.boxes_of(sample.category)


def _key(sample: Sample) -> str:
    """The picture's name and a checksum of its pixels and its truth."""
    parts = [sample.image, sample.boxes, sample.mask, sample.ignore, sample.class_map]
    code = zlib.crc32(str(sample.label).encode())
    for part in parts:
        if part is not None:
            code = zlib.crc32(part.contiguous().numpy().tobytes(), code)
    return f"{sample.id}#{code:08x}"
