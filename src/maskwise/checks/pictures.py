"""Pictures for the checks, at one size and in memory: the one place that reads data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from maskwise.data import DataSet, Record, read_data
from maskwise.errors import InputError
from maskwise.images import resize

RandomLabels = Literal["shuffled", "uniform"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with their classes.

    Attributes:
        images: (N,3,S,S) uint8, squashed.
        labels: (N,) int64 in 0…K-1.
        classes: K names.
    """

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.images)

    def floats(self) -> Tensor:
        """The pictures as float32 in [0,1]."""
        return self.images.float() / 255

    def shrunk(self, size: int) -> Labelled:
        """The pictures squashed to another size."""
        if self.images.shape[-1] == size:
            return self
        parts = [to_bytes(resize(part.float() / 255, size)) for part in self.images.split(64)]
        return replace(self, images=torch.cat(parts))

    def checksum(self) -> str:
        """First 16 hex digits of the SHA-256 of pictures, labels and names."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for part in (self.images, self.labels):
            digest.update(part.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def subset(self, indices: Tensor) -> Labelled:
        return replace(self, images=self.images[indices], labels=self.labels[indices])


def to_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def pictures(sources: Sequence[str], size: int, limit: int | None = None) -> Tensor:
    """Pictures (N,3,S,S) uint8 of data sets, squashed; ``limit`` of each, evenly spread.

    Raises:
        InputError: a source that can't be read.
    """
    parts = []
    for source in sources:
        data = read_data(source)
        parts.append(_read(data, [data.records[i] for i in spread(len(data), limit)], size))
    return torch.cat(parts)


def labelled(source: str, size: int, limit: int | None = None, classes: Sequence[str] | None = None) -> Labelled:
    """Pictures of one data set with their labels, those of the classifier or else the data set's own, as 0…K-1.

    Args:
        source: as ``read_data`` takes it.
        size: side in pixels that they are squashed to.
        limit: only so many, evenly spread.
        classes: of the training pictures, for pictures to test on: the same names get the same labels.

    Raises:
        InputError: pictures without labels, fewer than two classes, or one that ``classes`` does not name.
    """
    data = read_data(source)
    records = [data.records[i] for i in spread(len(data), limit)]
    named = [_class_of(data, record) for record in records]
    known = sorted(set(named), key=_numbers_as_numbers) if classes is None else list(classes)
    if len(known) < 2:
        raise InputError(f"{source}: all pictures are of one class: there is nothing to learn")
    foreign = sorted({name for name in named if name not in known})
    if foreign:
        raise InputError(f"{source}: the class {foreign[0]!r} is not among those trained on")
    labels = torch.tensor([known.index(name) for name in named])
    return Labelled(_read(data, records, size), labels, tuple(known))


def split(data: Labelled, share: float = 0.2, seed: int = 0) -> tuple[Labelled, Labelled]:
    """Training and test pictures: ``share`` of each class, drawn by ``seed``, is kept for the test.

    Raises:
        InputError: a class of which nothing would be left to train or to test on.
    """
    draws = torch.Generator().manual_seed(seed)
    test = torch.zeros(len(data), dtype=torch.bool)
    for k, name in enumerate(data.classes):
        members = (data.labels == k).nonzero()[:, 0]
        count = round(share * len(members))
        if not 0 < count < len(members):
            raise InputError(f"class {name!r} has {len(members)} pictures: too few to keep some for the test")
        test[members[torch.randperm(len(members), generator=draws)[:count]]] = True
    return data.subset((~test).nonzero()[:, 0]), data.subset(test.nonzero()[:, 0])


def random_labels(data: Labelled, how: RandomLabels, seed: int = 0) -> Labelled:
    """The same pictures with labels that say nothing.

    Args:
        data: pictures and true labels.
        how: ``shuffled``, so that each class keeps its number of pictures, or ``uniform``.
        seed: of the draws.

    Raises:
        InputError: another word.
    """
    draws = torch.Generator().manual_seed(seed)
    if how == "shuffled":
        return replace(data, labels=data.labels[torch.randperm(len(data), generator=draws)])
    if how == "uniform":
        return replace(data, labels=torch.randint(len(data.classes), (len(data),), generator=draws))
    raise InputError(f"labels are shuffled or uniform, not {how!r}")


def spread(count: int, limit: int | None) -> list[int]:
    """``limit`` positions evenly spread over ``count``, since listings are often sorted by class."""
    if limit is None or limit >= count:
        return list(range(count))
    return [i * count // limit for i in range(limit)]


def _class_of(data: DataSet, record: Record) -> str:
    """The data set's own name of a picture's class where it has one, else the number of its label."""
    if record.category is not None:
        return data.classes[record.category] if data.classes is not None else str(record.category)
    if record.label is None:
        raise InputError(f"{data.name}: {record.id} has no label; every picture needs one here")
    return str(record.label)


def _numbers_as_numbers(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (-1, name)


def _read(data: DataSet, records: Sequence[Record], size: int) -> Tensor:
    return torch.cat([to_bytes(resize(data.image(record)[None], size)) for record in records])
