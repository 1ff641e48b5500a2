"""What one map is made for: a picture, or one of the classes in it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, Sample
from maskwise.data.sample import no_boxes
from maskwise.labels import Labels
from maskwise.measures.pointing import box_regions

RULES = ("predicted", "label", "each")
Target = str | int  # one of the rules, or a class of the classifier's: index, name or WordNet id


@dataclass(frozen=True)
class Item:
    """A picture, brought to its size, and the class of it that a map answers for.

    Attributes:
        sample: with label, category and mask of that class, where there is one.
        asked: the class, among the data set's own, -1 where it has none for it; None leaves open which.
    """

    sample: Sample
    asked: int | None = None

    @cached_property
    def regions(self) -> dict[int, Tensor]:
        """Class to its pixels (H,W), of all classes in the picture; -1 is the one class of a picture that names none.

        Where boxes have no classes of their own, one that is smaller than a pixel is the pixel that it lies in.
        """
        sample = self.sample
        found = sample.regions()
        if found or sample.box_classes is not None or sample.class_map is not None:
            return found
        named = sample.label if sample.label is not None else sample.category
        only = -1 if named is None else named
        if sample.mask is not None:
            found = {only: sample.mask}
        else:
            [found] = box_regions([sample.boxes], torch.tensor([only]), (sample.height, sample.width))
        return {own: pixels for own, pixels in found.items() if pixels.any()}

    @property
    def category(self) -> int:
        """The class among the regions that a map answers for; -1 where nobody says which.

        A data set's classes need not be the classifier's: a picture of several classes that has none of its own says
        nothing of the class explained, and neither does its label, which is a number among the classifier's.
        """
        if self.asked is not None:
            return self.asked if self.asked in self.regions else -1
        for own in (self.sample.category, self.sample.label if _by_label(self.sample) else None):
            if own is not None and own in self.regions:
                return own
        return next(iter(self.regions)) if len(self.regions) == 1 else -1


def items_of(sample: Sample, data: DataSet | None, classifier: Classifier, target: Target) -> Iterator[Item]:
    """The picture itself; with target ``each`` once for each class in it, as the pointing game asks.

    Of a class by name, or each, the truth is that class's own: where a picture shows others alone, there is none.

    Raises:
        InputError: the picture has a class that the classifier does not know, or the class asked for is unknown.
    """
    if target != "each":
        wanted = class_asked(target, classifier)
        yield Item(_labelled(sample, data, classifier)) if wanted is None else _asked(sample, wanted, data, classifier)
        return
    for asked, pixels in sample.regions().items():
        label = asked if _by_label(sample) else class_of(asked, data, classifier)
        yield Item(replace(_of_class(sample, asked, pixels), label=label), asked)


def _asked(sample: Sample, wanted: int, data: DataSet | None, classifier: Classifier) -> Item:
    """The picture with what it knows of the classifier's class ``wanted``."""
    regions = sample.regions()
    own = _own_class(wanted, sample, regions, data, classifier)
    if own in regions:
        return Item(_of_class(sample, own, regions[own]), own)
    if _names_no_class(sample):  # its boxes may be of any
        return Item(sample, own)
    bare = replace(
        sample, boxes=no_boxes(), box_classes=None, box_masks=None, mask=None, class_map=None, difficult=None,
        category=None,
    )  # fmt: skip
    return Item(bare, own)


def _labelled(sample: Sample, data: DataSet | None, classifier: Classifier) -> Sample:
    """Of a picture of several classes the one that its label stands for is its own: it is found by name."""
    if sample.category is not None or sample.label is None or _by_label(sample):
        return sample
    own = _own_class(sample.label, sample, sample.regions(), data, classifier)
    return sample if own < 0 else replace(sample, category=own)


def _of_class(sample: Sample, asked: int, pixels: Tensor) -> Sample:
    """The picture with boxes and mask of one of the classes in it, which has these pixels (H,W)."""
    own = sample.box_classes is not None or sample.class_map is not None
    exact = sample.box_masks is not None or (sample.class_map is not None and bool((sample.class_map == asked).any()))
    return replace(sample, category=asked, mask=pixels if exact else None if own else sample.mask)


def _by_label(sample: Sample) -> bool:
    """Is its one class the label, which is the classifier's?"""
    return sample.box_classes is None and sample.class_map is None and sample.label is not None


def _names_no_class(sample: Sample) -> bool:
    known = (sample.box_classes, sample.class_map, sample.label, sample.category)
    return all(one is None for one in known)


def class_asked(target: Target, classifier: Classifier) -> int | None:
    """Index of the class that ``target`` names; None where it is a rule, by which each picture has its own.

    Raises:
        InputError: neither a rule nor a class of the classifier's.
    """
    if target in RULES:
        return None
    try:
        return classifier.labels.resolve(target)
    except InputError as error:
        raise InputError(f"target is {', '.join(RULES)} or a class: {error}") from None


def _own_class(
    wanted: int, sample: Sample, regions: Mapping[int, Tensor], data: DataSet | None, classifier: Classifier
) -> int:
    """The picture's own class that is the classifier's class ``wanted``; -1 where the picture shows none such."""
    for own in regions:
        try:
            if (own if _by_label(sample) else class_of(own, data, classifier)) == wanted:
                return own
        except InputError:  # a class that the classifier does not know is not the one asked for
            continue
    return -1


def class_of(own: int, data: DataSet | None, classifier: Classifier) -> int:
    """Index among the classifier's classes of a data set's class: the one of its name, or where they are numbers, its.

    Raises:
        InputError: there is none.
    """
    try:
        return class_among(own, data, classifier.labels)
    except InputError as error:
        if classifier.labels.numbered:
            raise InputError(f"the data have a class {own}, and {classifier.name} {error}") from None
        raise InputError(f"to explain each class {classifier.name} must know the data's classes: {error}") from None


def class_among(own: int, data: DataSet | None, labels: Labels) -> int:
    """``class_of`` of the classes of a classifier whose ``labels`` these are."""
    names = None if data is None else data.classes
    if names is not None and names[own] in labels.names and not labels.are_places:  # it may be a number, and no index
        [called] = labels.of_names([names[own]])
        if called is not None:
            return called
    if labels.numbered:
        if own < len(labels):
            return own
        raise InputError(f"knows {len(labels)} classes")
    return labels.resolve(str(own) if names is None else names[own])
