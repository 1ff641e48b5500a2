"""``subjects.csv``: whose picture each one is, where a patient, an animal or a video has several."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from maskwise.core.connected import connected
from maskwise.core.text import first_few, how_many
from maskwise.data.store import Store
from maskwise.data.tables import csv_rows, one_each
from maskwise.data.unmatched import by_picture, say_unmatched

if TYPE_CHECKING:
    from maskwise.data.dataset import DataSet

TABLE = "subjects.csv"


def with_subjects(data: DataSet, store: Store, whole: bool) -> DataSet:
    """The data set whose records name their subjects, as the table says; as it is where there is no table.

    Args:
        store: where the table may be.
        whole: are these all pictures of the data set? Of a split's the table lists more.

    Warns:
        UserWarning: pictures that it leaves out, each of which then counts as a subject of its own; names that fit no
            picture.

    Raises:
        InputError: a table that can't be read, gives one picture two subjects, or of which no name fits.
    """
    if not store.exists(TABLE):
        return data
    title = store.title(TABLE)
    rows = csv_rows(store.text(TABLE), title, ("file", "subject"))
    ids = {record.id for record in data.records}
    table = by_picture(one_each(rows, "file", lambda row: row["subject"], "subject"), ids)
    if whole:
        say_unmatched(table, ids, title, data.name)
    without = [record.id for record in data.records if not table.get(record.id)]
    if without:
        warnings.warn(
            f"{title}: names no subject of {len(without):,} of {how_many(len(data.records), 'picture')} "
            f"({first_few(without)}): each counts as one of its own",
            stacklevel=2,
        )
    return replace(data, records=[replace(r, subject=table.get(r.id) or None) for r in data.records])


def subjects_by_name(data: DataSet) -> Mapping[str, str]:
    """Of the pictures, by id, that have one."""
    return {record.id: record.subject for record in data.records if record.subject is not None}


def subject_numbers(sets: Sequence[DataSet]) -> Tensor | None:
    """The number of each picture's subject, (N,) int64, over all pictures of these sets in order; those of one are
    alike, in whichever set they are. None where no picture names one.
    """
    return numbers_of([record.subject for data in sets for record in data.records])


def numbers_of(subjects: Sequence[str | None]) -> Tensor | None:
    """As ``subject_numbers``, of the subject of each picture; None is one of its own."""
    if not any(name is not None for name in subjects):
        return None
    return connected([[] if name is None else [name] for name in subjects])


def say_shared(trained: Iterable[str | None], tested: Iterable[str | None]) -> None:
    """Warns where a subject has pictures among those that are trained on and among those that are tested on.

    Args:
        trained: the subject of each picture that is trained on, or None.
        tested: of each that is tested on.
    """
    both = sorted({name for name in trained if name is not None} & {name for name in tested if name is not None})
    if both:
        warnings.warn(
            f"{how_many(len(both), 'subject')} ({first_few(both)}) {'has' if len(both) == 1 else 'have'} pictures "
            "among those trained on and among those tested on: what is found of those need not hold for others",
            stacklevel=2,
        )


def held_out_of(subjects: Sequence[str | None], count: int, draws: torch.Generator) -> list[int]:
    """Places of about ``count`` pictures, drawn from all, which a training is to leave out; of a subject all or none.

    Args:
        subjects: whom or what each picture is of; None is a subject of its own.
        count: at least 1.
        draws: the choice.

    Warns:
        UserWarning: all are of one subject, and pictures of it are drawn.
    """
    groups = numbers_of(subjects)
    if groups is not None and not groups.any():
        warnings.warn(
            "all pictures are of one subject, so those that are held out are of it, too: nothing is measured on others",
            stacklevel=3,
        )
        groups = None
    if groups is None:
        return [int(i) for i in torch.randperm(len(subjects), generator=draws).tolist()[:count]]
    drawn = whole_subjects(groups, torch.zeros_like(groups), torch.tensor([count]), draws)
    return [int(i) for i in drawn.nonzero()[:, 0].tolist()]


def whole_subjects(groups: Tensor, labels: Tensor, wanted: Tensor, draws: torch.Generator) -> Tensor:
    """Drawn pictures (N,) bool, about so many of each class, so that no subject has some drawn and some left.

    Subjects come in a random order, and each is taken that still fits; of a class that has none then, the smallest. No
    class is drawn whole.

    Args:
        groups: (N,) int64, the subject of each picture, 0 to G-1.
        labels: (N,) int64, the class of each, 0 to K-1.
        wanted: (K,), so many of each class.
        draws: their order.
    """
    total, order = labels.bincount(minlength=len(wanted)), groups.argsort(stable=True)
    members = order.split(groups.bincount().tolist())
    kept, drawn = torch.zeros_like(total), torch.zeros(len(groups), dtype=torch.bool)

    def take(group: Tensor, most: Tensor) -> None:
        own, count = labels[group].unique(return_counts=True)
        if bool((kept[own] + count <= most[own]).all()):
            kept[own] += count
            drawn[group] = True

    for i in torch.randperm(len(members), generator=draws).tolist():
        take(members[i], wanted.minimum(total - 1))
    for label in ((kept == 0) & (total > 0)).nonzero()[:, 0].tolist():
        for group in sorted((one for one in members if bool((labels[one] == label).any())), key=len):
            if not kept[label]:
                take(group, total - 1)
    return drawn
