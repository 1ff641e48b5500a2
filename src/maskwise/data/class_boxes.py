"""``boxes.csv`` of a folder or a zip: boxes, each with its class where they have some."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

from maskwise.core.errors import InputError
from maskwise.data.dataset import Box
from maskwise.data.store import Store
from maskwise.data.tables import BOX_COLUMNS, WHOLE, TableRow, csv_rows, one_each, row_box, whole_number

Boxes = Mapping[str, Sequence[tuple[Box, int | None]]]


def class_boxes(store: Store) -> tuple[Boxes, tuple[str, ...]]:
    """The boxes of each picture, each with its class or None, and the names of those classes.

    The column ``class`` has an index, and ``name`` what it is called; or ``class``, or ``name`` alone, has the names,
    and then the classes are these in the order of the alphabet.

    Raises:
        InputError: a row that can't be read, or a class with two names.
    """
    if not store.exists("boxes.csv"):
        return {}, ()
    texts: dict[str, list[tuple[Box, str]]] = defaultdict(list)  # there may be a million rows, so none is kept
    first: dict[str, TableRow] = {}
    names: dict[tuple[str, str], TableRow] = {}
    for row in csv_rows(store.text("boxes.csv"), store.title("boxes.csv"), BOX_COLUMNS):
        if row.get("kind", "body_from_trimap") != "body_from_trimap":
            continue  # Oxford Pets' second kind outlines the head only
        text = row.get("class", row.get("name", ""))
        texts[row["file"]].append((row_box(row), text))
        if text:
            first.setdefault(text, row)
            names.setdefault((text, row.get("name", "")), row)
    if any(WHOLE.fullmatch(text) for text in first):
        numbers = {t: whole_number(t, row.title, f"the class of {row['file']!r}") for t, row in first.items()}
        called = in_order(class_names(list(names.values()), "class", lambda row: row.get("name", "")))
    else:
        numbers, called = {text: i for i, text in enumerate(sorted(first))}, tuple(sorted(first))
    return {file: [(box, numbers.get(text)) for box, text in own] for file, own in texts.items()}, called


def have_classes(boxes: Boxes) -> bool:
    return any(kind is not None for own in boxes.values() for _, kind in own)


def boxes_of(boxes: Boxes, file: str, multi: bool, store: Store) -> tuple[tuple[Box, ...], tuple[int, ...] | None]:
    """A picture's boxes and, where boxes have classes (``multi``), the class of each.

    Raises:
        InputError: one of them has none.
    """
    listed = boxes.get(file, ())
    if multi and any(kind is None for _, kind in listed):
        raise InputError(f"{store.title('boxes.csv')}: some boxes of {file!r} have no class")
    return tuple(box for box, _ in listed), tuple(kind or 0 for _, kind in listed) if multi else None


def class_names(rows: list[TableRow], column: str, name: Callable[[TableRow], str]) -> dict[int, str]:
    """Of each class its name."""
    numbers = {text: whole_number(text, row.title, f"the {column}") for row in rows if (text := row[column])}
    named = one_each([row for row in rows if row[column]], column, name, "name")
    return {numbers[text]: found for text, found in named.items()}


def in_order(names: dict[int, str]) -> tuple[str, ...]:
    return tuple(names.get(i) or f"class {i}" for i in range(max(names, default=-1) + 1))
