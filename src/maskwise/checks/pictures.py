"""Pictures for the checks, at one size, with their labels: the one place that reads data sets."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from maskwise.checks.rows import Values, picked
from maskwise.checks.streamed import CACHE_GIB, SquareOrSides, Streamed, in_memory_if_it_fits, squashed
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.spread import evenly_spread
from maskwise.data import DataSet, Record, read_data
from maskwise.data.class_order import say_other_order
from maskwise.data.damaged import readable
from maskwise.data.sample import filled
from maskwise.data.subjects import numbers_of, subject_numbers, whole_subjects

RandomLabels = Literal["shuffled", "uniform"]


@dataclass(frozen=True, eq=False)
class Labelled:
    """Pictures with their classes.

    Attributes:
        images: (N,3,h,w) uint8, squashed; a tensor, or ``Rows`` that are read when they are needed.
        labels: (N,) int64 in 0…K-1.
        classes: K names.
        subjects: of each picture, whom or what it is of, or None; empty where nobody says.
    """

    images: Values
    labels: Tensor
    classes: tuple[str, ...]
    subjects: tuple[str | None, ...] = ()

    def __len__(self) -> int:
        return len(self.images)

    def floats(self) -> Tensor:
        """All pictures as float32 in [0,1], in memory."""
        return torch.cat([part.float() / 255 for part in self.images.split(64)])

    def shrunk(self, size: SquareOrSides) -> Labelled:
        """The pictures squashed to another size, (h,w) or the side of a square."""
        images = squashed(self.images, size)
        return self if images is self.images else replace(self, images=images)

    def checksum(self) -> str:
        """First 16 hex digits of the SHA-256 of pictures, labels and names; each picture is read once."""
        digest = hashlib.sha256("\n".join(self.classes).encode())
        for part in self.images.split(64):
            digest.update(part.contiguous().numpy().tobytes())
        digest.update(self.labels.contiguous().numpy().tobytes())
        return digest.hexdigest()[:16]

    def subset(self, indices: Tensor) -> Labelled:
        subjects = tuple(self.subjects[i] for i in indices.tolist()) if self.subjects else ()
        return replace(self, images=picked(self.images, indices), labels=self.labels[indices], subjects=subjects)

    @property
    def groups(self) -> Tensor | None:
        """(N,) int64, one number for the pictures of a subject; None where nobody says whose they are."""
        return numbers_of(self.subjects)


def pictures(
    sources: Sequence[str | DataSet],
    size: SquareOrSides,
    limit: int | None = None,
    cache_gib: float = CACHE_GIB,
    skip_damaged: bool = False,
) -> Values:
    """Pictures (N,3,h,w) uint8 of data sets, squashed; ``limit`` of each, evenly spread.

    Args:
        sources: as ``read_data`` takes them, or data sets.
        size: (h,w) in pixels that they are squashed to, or the side of a square.
        limit: only so many of each.
        cache_gib: so much memory, in GiB, may hold them decoded, as a tensor; more of them are read when needed.
        skip_damaged: try all of them first, and leave out those that can't be read, with a warning that counts them.

    Raises:
        InputError: a source or a picture that can't be read.
    """
    return grouped_pictures(sources, size, limit, cache_gib, skip_damaged)[0]


def grouped_pictures(
    sources: Sequence[str | DataSet],
    size: SquareOrSides,
    limit: int | None = None,
    cache_gib: float = CACHE_GIB,
    skip_damaged: bool = False,
) -> tuple[Values, Tensor | None]:
    """As ``pictures``, and the number of each one's subject (N,), where those are known (see ``subject_numbers``)."""
    sets = [_chosen(source, limit, skip_damaged) for source in sources]
    items = [(data, record) for data in sets for record in data.records]
    return in_memory_if_it_fits(Streamed(items, size), cache_gib), subject_numbers(sets)


def labelled(
    source: str | DataSet,
    size: SquareOrSides,
    limit: int | None = None,
    classes: Sequence[str] | None = None,
    cache_gib: float = CACHE_GIB,
    skip_damaged: bool = False,
) -> Labelled:
    """Pictures of one data set with their labels, those of the classifier or else the data set's own, as 0…K-1.

    Args:
        source: as ``read_data`` takes it, or a data set.
        size: (h,w) in pixels that they are squashed to, or the side of a square.
        limit: only so many, evenly spread.
        classes: of the training pictures, for pictures to test on: the same names get the same labels.
        cache_gib, skip_damaged: see ``pictures``.

    Raises:
        InputError: pictures without labels, fewer than two classes, or one that ``classes`` does not name.
    """
    data = _chosen(source, limit, skip_damaged)
    named = [_class_of(data, record) for record in data.records]
    known = sorted(set(named), key=_numbers_as_numbers) if classes is None else list(classes)
    if len(known) < 2:
        raise InputError(f"{data.name}: all pictures are of one class: there is nothing to learn")
    foreign = sorted(set(named) - set(known))
    if foreign:
        raise InputError(f"{data.name}: the class {foreign[0]!r} is not among those trained on")
    number = {name: k for k, name in enumerate(known)}
    labels = torch.tensor([number[name] for name in named])
    images = in_memory_if_it_fits(Streamed([(data, record) for record in data.records], size), cache_gib)
    return Labelled(images, labels, tuple(known), _subjects([data]))


def classified(
    sources: Sequence[str | DataSet],
    classifier: Classifier,
    limit: int | None = None,
    cache_gib: float = CACHE_GIB,
    skip_damaged: bool = False,
) -> Labelled:
    """Pictures of data sets at the classifier's size, with its own class indices as labels, and all its classes.

    Args:
        sources, limit, cache_gib, skip_damaged: see ``pictures``.
        classifier: with softmax over its classes.

    Raises:
        InputError: a picture whose label is not known among these classes.
    """
    sets = [_chosen(source, limit, skip_damaged) for source in sources]
    say_other_order(sets, classifier.labels, classifier.name)
    items = [(data, record) for data in sets for record in data.records]
    labels = []
    for data, record in items:
        if record.label is None or not 0 <= record.label < len(classifier.labels):
            raise InputError(
                f"{data.name}: {record.id} has no label among the {len(classifier.labels)} classes of "
                f"{classifier.name}; every picture needs one here"
            )
        labels.append(record.label)
    images = in_memory_if_it_fits(Streamed(items, classifier.size), cache_gib)
    return Labelled(images, torch.tensor(labels, dtype=torch.int64), tuple(classifier.labels.names), _subjects(sets))


def object_boxes(
    sources: Sequence[str | DataSet], size: tuple[int, int], limit: int | None = None, skip_damaged: bool = False
) -> Tensor:
    """The pixels (N,*size), bool, in the boxes of the same pictures; none where a picture has no box."""
    covers = []
    for source in sources:
        for sample in _chosen(source, limit, skip_damaged):
            covers.append(filled(sample.resized(size).boxes, *size))
    return torch.stack(covers) if covers else torch.zeros(0, *size, dtype=torch.bool)


def split(data: Labelled, share: float = 0.2, seed: int = 0) -> tuple[Labelled, Labelled]:
    """Training and test pictures: ``share`` of each class, drawn by ``seed``, is kept for the test.

    Where it is known whose pictures they are, those of a subject are all among the ones or all among the others, and
    the share is kept as nearly as that allows.

    Raises:
        InputError: a class of which nothing would be left to train or to test on.
    """
    draws = torch.Generator().manual_seed(seed)
    groups = data.groups
    if groups is not None:
        return _by_subject(data, groups, share, draws)
    test = torch.zeros(len(data), dtype=torch.bool)
    for k, name in enumerate(data.classes):
        members = (data.labels == k).nonzero()[:, 0]
        if not len(members):
            continue
        count = round(share * len(members))
        if not 0 < count < len(members):
            raise InputError(f"class {name!r} has {len(members)} pictures: too few to keep some for the test")
        test[members[torch.randperm(len(members), generator=draws)[:count]]] = True
    return data.subset((~test).nonzero()[:, 0]), data.subset(test.nonzero()[:, 0])


def _by_subject(data: Labelled, groups: Tensor, share: float, draws: torch.Generator) -> tuple[Labelled, Labelled]:
    total = data.labels.bincount(minlength=len(data.classes))
    test = whole_subjects(groups, data.labels, (share * total).round().long(), draws)
    kept = data.labels[test].bincount(minlength=len(total))
    for name, there, count in zip(data.classes, total.tolist(), kept.tolist(), strict=True):
        if there and not 0 < count < there:
            raise InputError(f"class {name!r} has pictures of too few subjects to keep some for the test")
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


def _chosen(source: str | DataSet, limit: int | None, skip_damaged: bool) -> DataSet:
    """The pictures that are taken of a data set."""
    data = source if isinstance(source, DataSet) else read_data(source)
    data = data.subset(evenly_spread(len(data), limit))
    return readable(data, truth=False)[0] if skip_damaged else data


def _subjects(sets: Sequence[DataSet]) -> tuple[str | None, ...]:
    found = tuple(record.subject for data in sets for record in data.records)
    return found if any(name is not None for name in found) else ()


def _class_of(data: DataSet, record: Record) -> str:
    """The data set's own name of a picture's class where it has one, else the number of its label."""
    if record.category is not None:
        return data.classes[record.category] if data.classes is not None else str(record.category)
    if record.label is None:
        raise InputError(f"{data.name}: {record.id} has no label; every picture needs one here")
    return str(record.label)


def _numbers_as_numbers(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (-1, name)
