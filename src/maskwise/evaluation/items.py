"""What one map is made for: a picture, or one of the classes in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, Sample

Target = Literal["predicted", "label", "each"]


@dataclass(frozen=True)
class Item:
    """A picture, brought to its size, and the class of it that a map answers for.

    Attributes:
        sample: with label, category and mask of that class, where there is one.
        asked: the class, among the data set's own; None leaves open which.
    """

    sample: Sample
    asked: int | None = None

    @cached_property
    def regions(self) -> dict[int, Tensor]:
        """Class to its pixels (H,W), of all classes in the picture."""
        return self.sample.regions()

    @property
    def category(self) -> int:
        """The class among the regions that a map answers for; -1 where nobody says which.

        A data set's classes need not be the classifier's: a picture of several classes that has none of its own says
        nothing of the class explained.
        """
        for own in (self.asked, self.sample.category, self.sample.label):
            if own is not None and own in self.regions:
                return own
        return next(iter(self.regions)) if len(self.regions) == 1 else -1


def items_of(sample: Sample, data: DataSet | None, classifier: Classifier, target: Target) -> Iterator[Item]:
    """The picture itself; with target ``each`` once for each class in it, as the pointing game asks.

    Raises:
        InputError: the picture has a class that the classifier does not know.
    """
    if target != "each":
        yield Item(sample)
        return
    own = sample.box_classes is not None or sample.class_map is not None
    for asked, pixels in sample.regions().items():
        label = asked if not own and sample.label is not None else class_of(asked, data, classifier)
        exact = sample.box_masks is not None or (
            sample.class_map is not None and bool((sample.class_map == asked).any())
        )
        mask = pixels if exact else None if own else sample.mask
        yield Item(replace(sample, label=label, category=asked, mask=mask), asked)


def class_of(own: int, data: DataSet | None, classifier: Classifier) -> int:
    """Index among the classifier's classes of a data set's class: the one of its name, or where they are numbers, its.

    Raises:
        InputError: there is none.
    """
    known = classifier.labels.names
    if known[0].isdecimal():
        if own < len(known):
            return own
        raise InputError(f"the data have a class {own}, and {classifier.name} knows {len(known)} classes")
    names = None if data is None else data.classes
    try:
        return classifier.labels.resolve(str(own) if names is None else names[own])
    except InputError as error:
        raise InputError(f"to explain each class {classifier.name} must know the data's classes: {error}") from None
