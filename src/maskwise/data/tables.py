"""Listings: csv tables and white-space lists, with errors that say which line of which file is wrong."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box

TableRow = dict[str, str]
MOST_CLASSES = 1_000_000  # tables of names are as long as the highest index
MOST_ROWS = 2_000_000  # ImageNet has 1.3 million pictures; a small file may be a bomb
BOX_COLUMNS = ("file", "x0", "y0", "x1", "y1")

# What makes half-open pixel edges of an annotator's numbers.
AS_IS: Box = (0, 0, 0, 0)
FROM_ZERO: Box = (0, 0, 1, 1)  # first and last pixel, counted from 0
FROM_ONE: Box = (-1, -1, 0, 0)  # first and last pixel, counted from 1


def csv_rows(text: str, name: str, needed: Sequence[str]) -> list[TableRow]:
    """The rows of a csv with a header.

    Raises:
        InputError: it lacks a column, or a row is shorter than the header.
    """
    try:
        reader = csv.DictReader(io.StringIO(text))
        rows = list(islice(reader, MOST_ROWS + 1))
    except csv.Error as error:
        raise InputError(f"{name}: not a csv table ({error})") from None
    if not set(needed) <= set(reader.fieldnames or ()):
        raise InputError(f"{name}: needs the columns {', '.join(needed)}")
    if len(rows) > MOST_ROWS:
        raise InputError(f"{name}: has more than {MOST_ROWS:,} rows")
    for number, row in enumerate(rows, 2):
        if any(row[column] is None for column in needed):
            raise InputError(f"{name}: line {number} has fewer fields than the header")
    return rows


def whole_number(text: str, name: str, what: str) -> int:
    """``text`` as a class index.

    Raises:
        InputError: it is none; the message calls it ``what``.
    """
    try:
        number = int(text)
        if 0 <= number < MOST_CLASSES:
            return number
    except (TypeError, ValueError):
        pass
    raise InputError(f"{name}: {what} is {text!r}, which is not a class index (0, 1, 2, …)")


def make_box(edges: Sequence[str | float], name: str, file: str, shift: Box = AS_IS) -> Box:
    """(x0,y0,x1,y1) as numbers, moved by ``shift``.

    Raises:
        InputError: not four finite numbers, or no area.
    """
    try:
        x0, y0, x1, y1 = (float(edge) + d for edge, d in zip(edges, shift, strict=True))
    except (TypeError, ValueError):
        raise InputError(f"{name}: the box of {file!r} is not four numbers") from None
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise InputError(f"{name}: the box of {file!r} is not four numbers")
    if x1 <= x0 or y1 <= y0:
        box = ",".join(f"{edge:g}" for edge in (x0, y0, x1, y1))
        raise InputError(f"{name}: the box {box} of {file!r} is empty; x0 < x1 and y0 < y1 are needed")
    return x0, y0, x1, y1


def row_box(row: TableRow, name: str, shift: Box = AS_IS) -> Box:
    """The box in columns x0, y0, x1, y1 of a row; column ``file`` names the picture."""
    return make_box([row[edge] for edge in BOX_COLUMNS[1:]], name, row["file"], shift)


def boxes_by_file(rows: Sequence[TableRow], name: str) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in rows:
        boxes[row["file"]].append(row_box(row, name))
    return boxes


def fields(text: str, name: str, count: int, separator: str | None = None) -> Iterator[list[str]]:
    """The fields of each line that is neither empty nor a # comment.

    Raises:
        InputError: a line has fewer than ``count``.
    """
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        parts = [part.strip() for part in line.split(separator)]
        if len(parts) < count:
            raise InputError(f"{name}: line {number} has fewer than {count} fields")
        yield parts
