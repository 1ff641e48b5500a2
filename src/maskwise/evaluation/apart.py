"""Classes that a masker has seen in training, and those it has not, as two data sets (CASM 6.4, Table 3)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from maskwise.core.errors import InputError
from maskwise.data import DataSet
from maskwise.maskers import read_header


def seen_classes(masker: str | Path) -> tuple[int, ...]:
    """The classes that a masker was trained on.

    Raises:
        InputError: not a masker's file, one whose recipe can't be read, or it was trained on all classes.
    """
    try:
        recipe = json.loads(read_header(masker)["recipe"])
        classes = recipe.get("classes")
        strange = isinstance(classes, list) and not all(isinstance(one, int) for one in classes)
    except InputError:
        raise
    except (KeyError, ValueError, AttributeError, RecursionError):
        strange = True
    if strange:
        raise InputError(f"{masker}: its header's recipe can't be read; the file was damaged or changed")
    if not isinstance(classes, list):
        raise InputError(
            f"{masker}: was trained on all classes, so none is unseen; train one on some (setting classes)"
        )
    return tuple(classes)


def apart(data: DataSet, seen: Iterable[int]) -> list[DataSet]:
    """The pictures of seen classes and those of unseen ones, each named after it; an empty part is left out.

    Raises:
        InputError: the pictures have no labels.
    """
    if any(record.label is None for record in data.records):
        raise InputError(f"{data.name}: without labels nobody knows which pictures show a class that was seen")
    known = set(seen)
    parts = [
        replace(data.filter(lambda record, want=want: (record.label in known) == want), name=f"{data.name} ({title})")  # type: ignore[misc]
        for title, want in (("seen", True), ("unseen", False))
    ]
    return [part for part in parts if len(part)]
