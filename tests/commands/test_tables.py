"""Tables: whole names at any width, all columns in a pipe."""

from __future__ import annotations

import io
import json

import pytest
from calling import call
from rich.console import Console
from rich.table import Table

from maskwise.commands.tables import listed, plain_lines, print_table

LISTS = ("methods", "metrics", "classifiers", "recipes", "datasets")


def drawn(table: Table, width: int) -> list[str]:
    out = io.StringIO()
    print_table(table, Console(file=out, width=width, force_terminal=True, color_system=None))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("name", LISTS)
@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_a_terminal_shows_each_name_whole_and_loses_no_letter(name: str, width: int) -> None:
    rows = json.loads(call(name, "--json").stdout)
    rows = [{key: row[key] for key in ("name", "title", "paper", "source", "licence") if key in row} for row in rows]
    table, left = listed(rows, width)
    lines = drawn(table, width)
    assert max(map(len, lines)) <= width and not any("…" in line and "…" not in str(rows) for line in lines)
    shown = [key for key in rows[0] if key not in left]
    columns: list[list[str]] = []
    for line in lines:
        cells = [cell.strip() for cell in line.split("│")[1:-1]]
        if cells and cells[0]:
            columns.append(cells)  # a row begins where its name stands
        elif cells:
            columns[-1] = [a + b for a, b in zip(columns[-1], cells, strict=True)]
    assert [row[0] for row in columns] == [row["name"] for row in rows]
    for row, texts in zip(rows, columns, strict=True):
        for key, text in zip(shown, texts, strict=True):
            assert text.replace(" ", "") == str(row[key] or "").replace(" ", "")


@pytest.mark.parametrize("name", LISTS)
def test_a_pipe_gets_every_column_with_tabs_between(name: str) -> None:
    header, *lines = call(name).stdout.splitlines()
    columns = header.split("\t")
    rows = json.loads(call(name, "--json").stdout)
    assert len(lines) == len(rows) and all(len(line.split("\t")) == len(columns) for line in lines)
    assert [line.split("\t")[0] for line in lines] == [row["name"] for row in rows]
    if name != "recipes":  # whose JSON holds every setting
        assert columns == list(rows[0])


def test_columns_give_way_from_the_last_on() -> None:
    rows = [{"name": "a" * 40, "one": "b", "two": "c d e", "three": "f" * 30}]
    table, left = listed(rows, 60)
    assert left == ["three"] and [str(column.header) for column in table.columns] == ["name", "one", "two"]
    assert listed(rows, None)[1] == [] and listed(rows, 200)[1] == [] and listed([], 80)[1] == []


def test_a_cell_stays_in_its_line_and_keeps_no_style() -> None:
    table = Table("method", "le", title="[bold]data[/bold]")
    table.add_row("casm", "[bold]36.9\n[dim]\\[36, 37][/dim][/bold]")
    assert plain_lines(table) == ["data", "method\tle", "casm\t36.9 [36, 37]"]


def test_a_name_longer_than_the_terminal_is_folded() -> None:
    table = Table("picture", "p")
    table.add_row("x" * 70, "0.5")
    lines = drawn(table, 40)
    assert sum(line.count("x") for line in lines) == 70 and max(map(len, lines)) <= 40
