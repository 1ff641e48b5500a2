"""``findings.csv`` of a folder: which findings a picture shows, several or none, one column each."""

from __future__ import annotations

from collections.abc import Mapping

from maskwise.core.errors import InputError
from maskwise.data.store import Store
from maskwise.data.tables import TableRow, brief, csv_rows
from maskwise.labels import Labels

SHOWN = {"": None, "1": True, "1.0": True, "0": False, "0.0": False, "-1": None, "-1.0": None}
TABLE = "findings.csv"


def findings_table(store: Store) -> dict[str, TableRow]:
    """The row of each picture; empty where there is no table.

    Raises:
        InputError: a row that can't be read, or two of one picture.
    """
    if not store.exists(TABLE):
        return {}
    found: dict[str, TableRow] = {}
    for row in csv_rows(store.text(TABLE), store.title(TABLE), ("file",)):
        if (before := found.setdefault(row["file"], row)) is not row:
            raise InputError(
                f"{row.name}: line {before.line} and line {row.line} are both of {row['file']!r}; keep one"
            )
    return found


def shown_in(table: Mapping[str, TableRow], file: str, finding: int, classes: Labels) -> bool | None:
    """Does a picture show a finding? 1 is yes, 0 is no; nothing, or -1 (uncertain), is that nobody knows.

    Args:
        finding: an index among ``classes``, by whose names columns are found; other columns are passed over.

    Raises:
        InputError: another value there.
    """
    row = table.get(file)
    for column, text in (row or {}).items():
        if column == "file" or not _is(column, finding, classes):
            continue
        if text not in SHOWN:
            assert row is not None
            raise InputError(
                f"{row.title}: {column} of {file!r} is {brief(text)}; it is 1 where the picture shows it, 0 where not, "
                "and empty or -1 where nobody knows"
            )
        return SHOWN[text]
    return None


def _is(column: str, finding: int, classes: Labels) -> bool:
    try:
        return classes.resolve(column) == finding
    except InputError:
        return False
