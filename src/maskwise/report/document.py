"""A page of text, tables and figures: one HTML file that needs nothing beside it and asks nothing of the network."""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from rich.table import Table
from rich.text import Text

from maskwise.core.files import atomic_write


@dataclass(frozen=True)
class PageTable:
    """Texts in rows; the first column names the row.

    Attributes:
        columns: headings.
        rows: as many texts each.
        title: above it, for who does not see it.
    """

    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    title: str = ""

    @classmethod
    def of(cls, table: Table) -> PageTable:
        """The terminal's table, so that both say the same; without its colours."""
        columns = [_bare(column.header) for column in table.columns]
        rows = list(zip(*([_bare(cell) for cell in column.cells] for column in table.columns), strict=True))
        return cls(columns, rows, _bare(table.title or ""))


@dataclass(frozen=True)
class PageSection:
    """A heading and what is below it.

    Attributes:
        heading: may be empty.
        paragraphs: of text.
        points: of a list.
        table: of numbers.
        figure: as ``vector_uri`` gives it; ``caption`` says what it shows, also to who does not see it.
    """

    heading: str = ""
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    table: PageTable | None = None
    figure: str | None = None
    caption: str = ""


def write_document(
    path: str | Path, title: str, lead: str, sections: Sequence[PageSection], protocol: Mapping[str, Any]
) -> None:
    """Writes the page, atomically.

    Args:
        path: ends in .html.
        title: heading of the page.
        lead: the sentence below it.
        sections: from the top down.
        protocol: every setting behind the numbers, shown behind a fold at the end.

    Example:
        >>> import tempfile
        >>> told = PageSection("Numbers", table=PageTable(["", "LE"], [["casm", "28.1"]]))
        >>> write_document(Path(tempfile.mkdtemp()) / "a.html", "A check", "What was asked.", [told], {"seed": 0})
    """
    text = templates().get_template("document.html").render(
        title=utf8_text(title), lead=lead, sections=sections, protocol=json.dumps(protocol, indent=2, default=str)
    )  # fmt: skip
    with atomic_write(path) as temporary:
        temporary.write_text(utf8_text(text), encoding="utf-8")


def templates() -> Environment:
    """The pages' templates; every text that goes in is escaped."""
    return Environment(
        loader=PackageLoader("maskwise.report"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip


def vector_uri(draw: Callable[[Path], None]) -> str:
    """A figure within a page, as lines and text that stay sharp: what ``draw`` writes to the .svg that it is given."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "figure.svg")
        draw(path)
        return f"data:image/svg+xml;base64,{base64.b64encode(path.read_bytes()).decode()}"


def utf8_text(text: str) -> str:
    """Half of a broken pair of UTF-16, as in the name of a file that is no UTF-8, becomes a question mark."""
    return text.encode("utf-8", "replace").decode()


def _bare(cell: Any) -> str:
    return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell)
