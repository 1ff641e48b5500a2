"""Are the labels of pictures those that their classes have in a classifier? Names tell, where both sides have some."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from itertools import pairwise

from maskwise.core.text import first_few, utf8
from maskwise.data.dataset import DataSet
from maskwise.labels import Labels


def say_other_order(sets: Sequence[DataSet], labels: Labels, classifier: str) -> None:
    """Warns of each data set whose labels are another class by name; see ``other_order``."""
    for data in sets:
        if (line := other_order(data, labels, classifier)) is not None:
            warnings.warn(f"{utf8(data.name)}: {line}", stacklevel=2)


def other_order(data: DataSet, labels: Labels, classifier: str) -> str | None:
    """One line where labels of pictures are not what the names of their classes say; None where nothing speaks so.

    Class folders stand in the order of the alphabet, and few classifiers' classes do: ``labels=own`` gives a picture
    its folder's place, which may be another class's. A table of labels may be of another classifier.

    Args:
        labels: the classifier's.
        classifier: its name.
    """
    if data.classes is None:
        return None
    labelled = [
        (record.category, record.label)
        for record in data.records
        if record.label is not None and record.category is not None and record.category < len(data.classes)
    ]
    pairs = sorted(set(labelled))
    if labels.are_places:
        return _as_texts(data.classes) if any(own == label for own, label in pairs) else None
    by_name = labels.of_names(data.classes)
    wrong = [(own, label) for own, label in pairs if by_name[own] not in (None, label)]
    if wrong:
        own, label = wrong[0]
        # A label that is none of the classifier's is refused where it is met.
        there = f", which is {labels.name(label)!r} there" if label < len(labels) else ""
        return (
            f"{len(wrong)} of {len(pairs)} classes have another label than {classifier} gives their name: "
            f"{data.classes[own]!r} has {label}{there}, and is class {by_name[own]}; what asks for labels is wrong, "
            "unless labels.csv has the classifier's numbers"
        )
    places = len(labelled) == len(data.records) and all(own == label for own, label in pairs)
    if places and not any(one is not None for one in by_name) and len(data.classes) != len(labels):
        return (
            f"labels are places among its {len(data.classes)} classes ({data.classes[0]!r}, …), none of whose names is "
            f"among the {len(labels)} of {classifier}: what asks for labels is wrong unless these are its first ones"
        )
    return None


def mixed_numbers(sets: Sequence[DataSet]) -> str | None:
    """One line where a class's number does not mean one class in all these pictures; None where it does.

    It is a number among the classifier's classes where a picture has a label, and else among its data set's own.
    """
    lists: dict[object, str] = {}
    for data in sets:
        for record in data.records:
            if record.label is not None and record.box_classes is None:
                lists.setdefault("labels", "labels")
            elif record.category is not None or record.box_classes is not None:
                lists.setdefault(("own", data.classes), f"classes of {utf8(data.name).rpartition('/')[2]}")
    if len(lists) < 2:
        return None
    named = first_few(list(lists.values()))
    return (
        f"classes are told apart by their numbers, which here are of {len(lists)} lists ({named}): over all of these "
        "pictures together the mean over classes takes some of them for one"
    )


def _as_texts(classes: Sequence[str]) -> str | None:
    """Of classes that are called by numbers and stand in another order: nobody knows which of the two is meant."""
    if not all(name.isdecimal() for name in classes):
        return None
    out_of_order = next((i for i, (a, b) in enumerate(pairwise(classes)) if int(a) > int(b)), None)
    if out_of_order is None:
        return None
    a, b = classes[out_of_order : out_of_order + 2]
    return (
        f"its classes are called by numbers and counted as texts are sorted: {a!r} is class {out_of_order}, and {b!r} "
        f"class {out_of_order + 1}; where the classifier counts otherwise, name its classes (`labels`) or call folders "
        f"{b.zfill(len(a))!r}"
    )
