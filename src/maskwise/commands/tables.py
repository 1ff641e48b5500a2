"""Tables: for a terminal with whole names, for a pipe as lines with tabs between."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NARROW = 8  # characters that a column needs at least to be read, unless its words are shorter
EDGES = 3  # characters between two columns


def print_table(table: Table, console: Console | None = None) -> None:
    """A table on stdout: drawn where somebody looks at it, else one line a row with tabs between, all of it.

    Args:
        table: its first column holds names, which are never cut; the others wrap.
        console: where it is drawn; None is the terminal, if there is one.
    """
    if console is None:
        if not sys.stdout.isatty():
            typer.echo("\n".join(plain_lines(table)))
            return
        from rich.console import Console

        console = Console(highlight=False)
    names, *others = table.columns
    for column in table.columns:
        column.overflow = "fold"  # a word that is too long goes on in the next line
    widest = max((len(line) for text in _texts(names) for line in text.split("\n")), default=0)
    if widest <= console.width - (NARROW + EDGES) * len(others):
        names.min_width, names.no_wrap = widest, True
    console.print(table)


def plain_lines(table: Table) -> list[str]:
    """Title, header and rows of a table, without styles, tabs between the columns.

    Example:
        >>> from rich.table import Table
        >>> table = Table("method", "le")
        >>> table.add_row("casm", "[bold]36.9[/bold]")
        >>> plain_lines(table)
        ['method\\tle', 'casm\\t36.9']
    """
    rows = list(zip(*(_texts(column) for column in table.columns), strict=True))
    title = [] if table.title is None else [_plain(table.title)]
    header = [[_plain(column.header) for column in table.columns]] if table.show_header else []
    return title + ["\t".join(" ".join(text.split()) for text in row) for row in [*header, *rows]]


def listed(rows: Sequence[Mapping[str, Any]], width: int | None = None) -> tuple[Table, list[str]]:
    """A table of facts, and the columns that have no room in it.

    Args:
        rows: with the same keys, the first of which is the name.
        width: in characters of the terminal; None leaves no column out.
    """
    from rich.table import Table

    from maskwise.core.text import cell

    keys = list(rows[0]) if rows else []
    header = {key: key if width is None else key.replace("_", " ") for key in keys}  # words, where lines may break
    columns = {key: [header[key], *(_fact(row[key]) for row in rows)] for key in keys}
    shown, left = list(columns), list[str]()
    if width is not None:
        needed = {key: _least(texts, whole=key == shown[0]) + EDGES for key, texts in columns.items()}
        while len(shown) > 1 and sum(needed[key] for key in shown) + 1 > width:
            left.insert(0, shown.pop())
    table = Table(*(header[key] for key in shown))
    for i in range(len(rows)):
        table.add_row(*(cell(columns[key][i + 1]) for key in shown))
    return table, left


def _least(texts: Sequence[str], whole: bool) -> int:
    """Characters that a column can't do without."""
    if whole:
        return max(map(len, texts))
    return min(max(len(word) for text in texts for word in (text.split() or [""])), 2 * NARROW)


def _fact(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return ""
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _texts(column: Any) -> list[str]:
    return [_plain(text) for text in column.cells]


def _plain(text: Any) -> str:
    from rich.text import Text

    return Text.from_markup(text).plain if isinstance(text, str) else str(text)
