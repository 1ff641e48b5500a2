"""A batch of pictures as an explainer gets them, with their truth and the classifier's answer."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import ranked_classes
from maskwise.core.errors import InputError
from maskwise.core.portions import Portions
from maskwise.core.text import utf8
from maskwise.data import DataSet, Sample
from maskwise.evaluation.items import Item, Target, class_asked, items_of
from maskwise.labels import unknown_label

TOP = 5
Resize = Literal["squash", "crop", "none"]


@dataclass(frozen=True)
class Batch:
    """N items: pictures, or classes of pictures.

    Attributes:
        items: of one size, boxes and masks moved along with the picture.
        keys: who each item is, by its pixels, its truth and its class: what rows on disk are filed under.
        images: (N,3,H,W).
        probabilities: (N,C) float64 of the classifier on the whole pictures: in float32 those of sure findings, and so
            which is the surest, would be one number.
        top: (N,5), or as many as there are classes: the likeliest ones.
        targets: (N,) int64, the classes that are explained.
        labels: (N,) int64, -1 where none is known.
        difficult: of each item, which classes are difficult by a list; None without a list.
    """

    items: Sequence[Item]
    keys: list[str]
    images: Tensor
    probabilities: Tensor
    top: Tensor
    targets: Tensor
    labels: Tensor
    difficult: list[frozenset[int]] | None = None

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        classifier: Classifier,
        resize: Resize,
        target: Target,
        data: DataSet | None = None,
    ) -> Batch:
        """From pictures as they are stored; arguments as ``fitted``, ``items_of`` and ``of_items``."""
        items = [i for s in samples for i in items_of(fitted(s, classifier, resize), data, classifier, target)]
        return cls.of_items(items, classifier, target)

    @classmethod
    def of_items(
        cls,
        items: Sequence[Item],
        classifier: Classifier,
        target: Target,
        difficult: list[frozenset[int]] | None = None,
    ) -> Batch:
        """From items of one size.

        Args:
            items: at least one.
            classifier: scores the pictures.
            target: explain the ``predicted`` class; the ``label``, which with ``each`` is the item's class, and
                without a label the predicted one; or a class by name.
            difficult: of each item, the classes that a list calls difficult.

        Raises:
            InputError: the classifier gives NaN, or a label that it does not have.
        """
        samples = [item.sample for item in items]
        labels = torch.tensor([-1 if sample.label is None else sample.label for sample in samples])
        if labels.max() >= len(classifier.labels):
            worst = samples[int(labels.argmax())].id
            raise unknown_label(worst, int(labels.max()), classifier.name, len(classifier.labels))
        rows, whose = _once([sample.image for sample in samples])
        with torch.inference_mode():
            whole = classifier.prepare(torch.stack(rows))
            scores = Portions()(lambda part: classifier.logits(whole[part]).float().cpu(), len(whole))
            logits = torch.cat(scores)
            probabilities = classifier.probabilities(logits.double())
        if not probabilities.isfinite().all():
            raise InputError(f"{classifier.name} gives NaN as scores; its weights are broken")
        probabilities = probabilities.clone()[whose]  # no tensor of the inference mode leaves
        predicted = logits.argmax(1).clone()[whose]  # of sigmoids in float32 several are 1
        wanted = class_asked(target, classifier)
        if wanted is not None:
            targets = torch.full_like(predicted, wanted)
        else:
            targets = predicted if target == "predicted" else torch.where(labels >= 0, labels, predicted)
        images = torch.stack([sample.image for sample in samples])
        listed = [None] * len(items) if difficult is None else difficult
        keys = [_key(item, own) for item, own in zip(items, listed, strict=True)]
        top = ranked_classes(logits, TOP).clone()[whose]
        return cls(items, keys, images, probabilities, top, targets, labels, difficult)

    def has(self, name: str) -> list[bool]:
        """Which items know the truth ``name`` (see ``Metric``)."""
        if name == "boxes":
            return [len(_boxes(item.sample)) > 0 for item in self.items]
        if name == "masks":
            return [item.sample.mask is not None for item in self.items]
        if name == "ignore":
            return [item.sample.ignore is not None for item in self.items]
        if name == "regions":
            return [bool(item.regions) for item in self.items]
        if name == "labels":
            return (self.labels >= 0).tolist()
        if name == "difficult":
            return [self.difficult is not None] * len(self.items)
        return [name in ("images", "targets", "probabilities", "categories")] * len(self.items)

    def truth(self, names: Sequence[str], rows: Sequence[int]) -> dict[str, Any]:
        """Keywords for ``Metric.per_image`` on items ``rows``; what none of them knows is left out.

        Regions are not: without them boxes would stand in, and an item's row would hang on its company.
        """
        known = {name: self.has(name) for name in names}
        return {name: self._one(name, rows) for name in names if name == "regions" or any(known[name][i] for i in rows)}

    def _one(self, name: str, rows: Sequence[int]) -> Any:
        chosen = [self.items[i] for i in rows]
        if name == "boxes":
            return [_boxes(item.sample) for item in chosen]
        if name in ("masks", "ignore"):
            blank = torch.zeros(self.images.shape[-2:], dtype=torch.bool)
            found = [item.sample.mask if name == "masks" else item.sample.ignore for item in chosen]
            return torch.stack([blank if pixels is None else pixels for pixels in found])
        if name == "regions":
            return [item.regions for item in chosen]
        if name == "categories":
            return torch.tensor([item.category for item in chosen])
        if name == "difficult":
            assert self.difficult is not None
            return [self.difficult[i] for i in rows]
        return getattr(self, name)[list(rows)]


def fitted(sample: Sample, classifier: Classifier, resize: Resize) -> Sample:
    """The picture as it is explained and measured.

    Args:
        resize: ``squash`` to the classifier's input size, square or not; ``crop``: shorter side to the longer one of
            that, then the square in the centre, as CASM does; ``none`` keeps it, and explainers bring it to the
            classifier and their maps back.
    """
    if resize == "none":
        return sample
    if resize == "squash":
        return sample.resized(classifier.size)
    return sample.shorter_side_crop(classifier.input_size, clip=False)


def _once(images: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
    """Each picture once, and for every item which of them is its own: items of a picture share the tensor."""
    place: dict[int, int] = {}
    whose = [place.setdefault(id(image), len(place)) for image in images]
    return [images[whose.index(i)] for i in range(len(place))], torch.tensor(whose)


def _boxes(sample: Sample) -> Tensor:
    """The boxes of the picture's own class, or all of them where it has none."""
    return sample.boxes if sample.category is None else sample.boxes_of(sample.category)


def _key(item: Item, difficult: frozenset[int] | None) -> str:
    """The picture's name, a checksum of its pixels and its truth, and the class where one is asked.

    Args:
        difficult: its classes that a list calls so; None without a list.
    """
    s = item.sample
    code = zlib.crc32(f"{s.label} {s.category}".encode())
    if difficult is not None:
        code = zlib.crc32(repr(sorted(difficult)).encode(), code)
    for name in ("image", "boxes", "box_classes", "mask", "ignore", "class_map", "difficult", "box_masks"):
        part = getattr(s, name)
        if part is not None:  # the same pixels mean something else as another part, or in another shape
            code = zlib.crc32(f"{name} {tuple(part.shape)}".encode(), code)
            code = zlib.crc32(part.contiguous().numpy().tobytes(), code)
    return f"{utf8(s.id)}#{code:08x}" + ("" if item.asked is None else f"/{item.asked}")
