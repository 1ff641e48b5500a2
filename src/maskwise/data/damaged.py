"""Pictures that can't be read: said one by one, or passed over and counted."""

from __future__ import annotations

from collections.abc import Mapping

from maskwise.core.errors import InputError
from maskwise.core.text import utf8
from maskwise.data.dataset import DataSet

NAMED = 3  # in one line


def may_be_skipped(error: InputError) -> InputError:
    """The error of a picture, with how to go on without it."""
    return InputError(f"{error}; `skip_damaged=True` passes over such pictures and counts them")


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
    many = "picture could not be read and was" if len(names) == 1 else "pictures could not be read and were"
    why = f" ({next(iter(names.values()))[:200]})"
    return utf8(f"{len(names)} {many} passed over: {', '.join(first)}{more}{why}")


def without_damaged(data: DataSet) -> tuple[DataSet, dict[str, str]]:
    """The pictures that can be read with their truth, each of which is tried; and what is wrong with the others."""
    wrong: dict[str, str] = {}
    good = []
    for i, record in enumerate(data.records):
        try:
            data.sample(record)
            good.append(i)
        except InputError as error:
            wrong[record.id] = str(error)
    return (data.subset(good) if wrong else data), wrong
