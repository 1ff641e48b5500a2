"""Pictures that can't be read: said one by one, or passed over and counted."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from maskwise.core.errors import InputError
from maskwise.core.text import how_many, utf8
from maskwise.data.dataset import DataSet, Record

NAMED = 3  # in one line
READERS = 8
AT_ONCE = 1024  # pictures that are waited for together


def may_be_skipped(error: InputError) -> InputError:
    """The error of a picture, with how to go on without it."""
    return InputError(f"{error}; `skip_damaged=True` passes over such pictures and counts them")


@contextmanager
def says_how_to_skip() -> Iterator[None]:
    """While open, the error of a picture says how to go on without it."""
    try:
        yield
    except InputError as error:
        raise may_be_skipped(error) from None


def name_among(sets: Sequence[DataSet], data: DataSet, record: Record) -> str:
    """What a picture is called: two data sets may have pictures of one name."""
    return record.id if len(sets) == 1 else f"{data.name}: {record.id}"


def damaged_line(names: Mapping[str, str]) -> str:
    """One line that counts the pictures that were passed over, and says why of the first.

    Args:
        names: of pictures, to what is wrong with each.

    Example:
        >>> damaged_line({"a.png": "a.png: the file is empty (0 bytes)"})
        '1 picture could not be read and was passed over: a.png (a.png: the file is empty (0 bytes))'
    """
    first = list(names)[:NAMED]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    were = "was" if len(names) == 1 else "were"
    why = f" ({next(iter(names.values()))[:200]})"
    return utf8(
        f"{how_many(len(names), 'picture')} could not be read and {were} passed over: {', '.join(first)}{more}{why}"
    )


def without_damaged(data: DataSet, truth: bool = True) -> tuple[DataSet, dict[str, str]]:
    """The pictures that can be read, each of which is tried; and what is wrong with the others.

    Args:
        truth: a picture must be readable with its truth, too.
    """

    def wrong_with(record: Record) -> str | None:
        try:
            data.sample(record) if truth else data.image(record)
        except InputError as error:
            return str(error)
        return None

    found: list[str | None] = []
    with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
        for first in range(0, len(data), AT_ONCE):
            found += pool.map(wrong_with, data.records[first : first + AT_ONCE])
    wrong = {data.records[i].id: why for i, why in enumerate(found) if why is not None}
    return (data.subset(i for i, why in enumerate(found) if why is None) if wrong else data), wrong


def readable(data: DataSet, truth: bool = True) -> tuple[DataSet, dict[str, str]]:
    """As ``without_damaged``, with a warning that counts what is passed over.

    Raises:
        InputError: nothing is left.
    """
    left, wrong = without_damaged(data, truth)
    if wrong:
        if not len(left):
            raise InputError(f"{utf8(data.name)}: none of its pictures can be read; {damaged_line(wrong)}")
        warnings.warn(f"{utf8(data.name)}: {damaged_line(wrong)}", stacklevel=2)
    return left, wrong
