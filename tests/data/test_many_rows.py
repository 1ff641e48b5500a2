"""Tables of very many rows are read one after the other: what they say is kept, and not every row of them."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from maskwise.data.tables import BOX_COLUMNS, TableRow, boxes_by_file, csv_rows, one_each, whole_number

COUNT = 60_000
LABELS = "file,label\n" + "a.png,3\n" * COUNT
BOXES = ",".join(BOX_COLUMNS) + "\n" + "a.png,0,0,4,4\n" * COUNT


def label_of(row: TableRow) -> int:
    return whole_number(row["label"], row.title, "a label")


@pytest.mark.parametrize(
    ("text", "needed", "read", "most"),
    [
        (LABELS, ("file", "label"), lambda rows: one_each(rows, "file", label_of, "label"), 8),
        (BOXES, BOX_COLUMNS, lambda rows: len(boxes_by_file(rows)["a.png"]), 24),  # of which each box is kept
    ],
)
def test_memory_is_of_what_is_kept(
    text: str, needed: tuple[str, ...], read: Callable[[Iterable[TableRow]], Any], most: int
) -> None:
    tracemalloc.start()
    try:
        found = read(csv_rows(text, "t.csv", needed))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found in ({"a.png": 3}, COUNT)
    assert peak <= most * 2**20, f"{peak / 2**20:.1f} MB"
