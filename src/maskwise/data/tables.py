"""Listings: csv tables and white-space lists, with errors that say which line of which file is wrong."""

from __future__ import annotations

import csv
import io
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box

T = TypeVar("T")
MOST_CLASSES = 1_000_000  # tables of names are as long as the highest index
MOST_ROWS = 2_000_000  # ImageNet has 1.3 million pictures; a small file may be a bomb
BOX_COLUMNS = ("file", "x0", "y0", "x1", "y1")
SEPARATORS = ",;\t"
WHOLE = re.compile(r"0*([0-9]{1,12})(?:\.0*)?")
COMMA = re.compile(r"-?[0-9]+,(?:[0-9]{1,2}|[0-9]{4,})")

# What makes half-open pixel edges of an annotator's numbers.
AS_IS: Box = (0, 0, 0, 0)
FROM_ZERO: Box = (0, 0, 1, 1)  # first and last pixel, counted from 0
FROM_ONE: Box = (-1, -1, 0, 0)  # first and last pixel, counted from 1


class TableRow(dict[str, str]):
    """The fields of a row by column, the columns' names in lower case.

    Attributes:
        name: of the file.
        line: at which the row ends.
    """

    __slots__ = ("line", "name")

    def __init__(self, fields: Mapping[str, str], name: str, line: int) -> None:
        super().__init__(fields)
        self.name, self.line = name, line

    @property
    def title(self) -> str:
        """File and line, for errors."""
        return f"{self.name}: line {self.line}"


def csv_rows(text: str, name: str, needed: Sequence[str]) -> Iterator[TableRow]:
    """The rows of a csv with a header, as spreadsheets write it, too; one after the other, for there may be a million.

    Commas, semicolons or tabs may part the fields; names of columns may be in any case; rows without content are
    passed over.

    Args:
        needed: columns, in lower case.

    Raises:
        InputError: it lacks a column or has one twice, or a row is shorter or longer than the header.
    """
    separator = _separator(text, needed)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        header = [column.strip().lower() for column in next(reader, [])]
        if not set(needed) <= set(header):
            has = f"; it has {', '.join(header)[:100]}" if any(header) else ""
            raise InputError(f"{name}: needs the columns {', '.join(needed)}{has}")
        twice = next((column for column in header if column and header.count(column) > 1), None)
        if twice is not None:
            raise InputError(f"{name}: has the column {twice[:50]!r} twice; keep one")
        count = 0
        for fields in reader:
            if not any(map(str.strip, fields)):
                continue
            if len(fields) < len(header) and any(column in needed for column in header[len(fields) :]):
                raise InputError(f"{name}: line {reader.line_num} has fewer fields than the header")
            if any(field.strip() for field in fields[len(header) :]):
                raise InputError(
                    f"{name}: line {reader.line_num} has more fields than the header; a name that holds "
                    f"{separator!r} needs quotes"
                )
            count += 1
            if count > MOST_ROWS:
                raise InputError(f"{name}: has more than {MOST_ROWS:,} rows")
            yield TableRow(dict(zip(header, map(str.strip, fields), strict=False)), name, reader.line_num)
    except csv.Error as error:
        raise InputError(f"{name}: not a csv table ({error})") from None


def _separator(text: str, needed: Sequence[str]) -> str:
    """The one by which the header has the columns that are needed; a comma if there is none."""
    header = text.partition("\n")[0]
    for separator in SEPARATORS:
        with suppress(csv.Error):
            if set(needed) <= {
                column.strip().lower() for column in next(csv.reader([header], delimiter=separator), [])
            }:
                return separator
    return ","


def one_each(rows: Iterable[TableRow], key: str, value: Callable[[TableRow], T], what: str) -> dict[str, T]:
    """The value of each key.

    Args:
        key: a column.
        value: of a row.
        what: the value is, for an error.

    Raises:
        InputError: two rows give one key different values; it names both lines.
    """
    found, lines = dict[str, T](), dict[str, int]()
    for row in rows:
        now = value(row)
        before, first = found.setdefault(row[key], now), lines.setdefault(row[key], row.line)
        if before != now:
            raise InputError(
                f"{row.name}: line {first} and line {row.line} give {row[key]!r} two {what}s, {before} and {now}; "
                "keep one"
            )
    return found


def whole_number(text: str, name: str, what: str) -> int:
    """``text`` as a class index; as floats of whole numbers, ``3.0``, they come out of tables with gaps.

    Raises:
        InputError: it is none; the message calls it ``what``.
    """
    digits = WHOLE.fullmatch(text.strip())
    if digits is not None and int(digits[1]) < MOST_CLASSES:
        return int(digits[1])
    raise InputError(f"{name}: {what} is {brief(text)}, which is not a class index (0, 1, 2, …)")


def brief(text: object) -> str:
    """Quoted, and cut where it is long."""
    quoted = repr(text)
    return quoted if len(quoted) <= 60 else f"{quoted[:57]}…{quoted[-1]}"


def make_box(edges: Sequence[str | float], name: str, file: str, shift: Box = AS_IS) -> Box:
    """(x0,y0,x1,y1) as numbers, moved by ``shift``.

    Raises:
        InputError: not four finite numbers, or no area.
    """
    try:
        x0, y0, x1, y1 = (_number(edge) + d for edge, d in zip(edges, shift, strict=True))
    except (TypeError, ValueError, OverflowError):  # a whole number of JSON may have hundreds of digits
        raise InputError(f"{name}: the box of {file!r} is not four numbers") from None
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise InputError(f"{name}: the box of {file!r} is not four numbers")
    if x1 <= x0 or y1 <= y0:
        box = ",".join(f"{edge:g}" for edge in (x0, y0, x1, y1))
        raise InputError(f"{name}: the box {box} of {file!r} is empty; x0 < x1 and y0 < y1 are needed")
    return x0, y0, x1, y1


def _number(edge: str | float) -> float:
    """A decimal comma is read; one before three digits may as well part thousands, and is not."""
    if isinstance(edge, str) and COMMA.fullmatch(edge.strip()):
        edge = edge.replace(",", ".")
    return float(edge)


def row_box(row: TableRow, shift: Box = AS_IS) -> Box:
    """The box in columns x0, y0, x1, y1 of a row; column ``file`` names the picture."""
    return make_box([row[edge] for edge in BOX_COLUMNS[1:]], row.title, row["file"], shift)


def boxes_by_file(rows: Iterable[TableRow]) -> dict[str, list[Box]]:
    boxes: dict[str, list[Box]] = defaultdict(list)
    for row in rows:
        boxes[row["file"]].append(row_box(row))
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
