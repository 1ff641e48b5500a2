"""A leaderboard as table, CSV and one self-contained HTML page."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch
from markupsafe import Markup
from rich.table import Table
from torch import Tensor

from maskwise.core.files import atomic_write
from maskwise.core.text import cell as safe
from maskwise.evaluation.leaderboard import Cell, Leaderboard
from maskwise.evaluation.measured import Measured
from maskwise.report.curves import insertion_deletion_figure
from maskwise.report.document import templates, vector_uri


def short_number(value: float) -> str:
    """Three significant digits, and as many as it takes before the point."""
    if math.isnan(value):
        return "-"
    if abs(value) < 1e-9:  # a difference of sums that are equal
        return "0"
    if abs(value) >= 100:
        return f"{value:.0f}"
    digits = 2 - math.floor(math.log10(abs(value)))
    return f"{value:.{max(digits, 0)}f}" if digits <= 5 else f"{value:.1e}"


def interval_text(cell: Cell) -> str:
    """The interval in brackets."""
    return f"[{short_number(cell.low)}, {short_number(cell.high)}]"


def rich_table(board: Leaderboard, data: str, metric_names: list[str]) -> Table:
    """Some metrics of one data set's lines; the best of each metric, and its equals, are bold."""
    table = Table("method", title=safe(f"{data}, {board.protocol['classifier']}"), title_justify="left")
    for name in metric_names:
        table.add_column(heading(board, name).partition(" (")[0], justify="right")
    table.add_column("ms", justify="right")
    for line in board.lines:
        if line.data != data:
            continue
        row = []
        for name in metric_names:
            cell = line.cells[name]
            text = f"{short_number(cell.value)}\n[dim]{interval_text(cell).replace('[', chr(92) + '[')}[/dim]"
            row.append(f"[bold]{text}[/bold]" if board.is_best(line, name) else text)
        table.add_row(safe(line.method), *row, short_number(line.milliseconds))
    return table


def rich_tables(board: Leaderboard, width: int, groups: Sequence[str]) -> Iterator[Table]:
    """Tables of some data sets; a column is about 17 characters wide, and what has no room goes to the next table."""
    each = max((width - 30) // 17, 1)
    for data in groups:
        known = next(line.cells for line in board.lines if line.data == data)
        names = [name for name in board.metrics if name in known]
        for first in range(0, len(names), each):
            yield rich_table(board, data, names[first : first + each])


def write_all(board: Leaderboard, measured: Measured, folder: Path, ending: str = "png", dpi: float = 110) -> Markup:
    """leaderboard.json, .csv and .html, and the curves of insertion and deletion where they were measured.

    Args:
        ending: of the curves' figure: png, pdf, svg or jpg; the page has it as svg.
        dpi: dots an inch of that figure.

    Returns:
        What the page shows, for pages that have more.
    """
    pictures = {}
    curves = {name: curves_of(measured, name) for name in ("insertion", "deletion")}
    if all(curves.values()):
        draw = partial(insertion_deletion_figure, curves["insertion"], curves["deletion"])
        draw(folder / f"curves.{ending}", dpi)
        pictures["Insertion and deletion"] = vector_uri(draw)
    write_json(board, folder / "leaderboard.json")
    write_csv(board, folder / "leaderboard.csv")
    write_html(board, folder / "leaderboard.html", pictures)
    return leaderboard_part(board, pictures)


def curves_of(measured: Measured, metric: str) -> dict[str, Tensor]:
    """The curves (N,steps+1) of each method over all pictures; empty where they were not measured."""
    if metric not in measured.metrics:
        return {}
    found = {
        c.name: torch.cat([measured.statistics[source, c.name, metric] for source in measured.pictures])
        for c in measured.contenders
    }
    return {name: rows[~rows.isnan().any(1)] for name, rows in found.items()}


def write_json(board: Leaderboard, path: Path) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(board.plain(), indent=2, allow_nan=False) + "\n", encoding="utf-8")


def no_formula(text: str) -> str:
    """Spreadsheets run what begins like a formula; after an apostrophe they show it.

    Example:
        >>> no_formula("=1+1"), no_formula("casm")
        ("'=1+1", 'casm')
    """
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def write_csv(board: Leaderboard, path: Path) -> None:
    """One row a data set, method and metric."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    columns = ("value", "low", "high", "pictures")
    against = ("difference", "difference_low", "difference_high")
    writer.writerow(["data", "method", "metric", *columns, "best", *against, "milliseconds", "megabytes"])
    for line in board.lines:
        for name, cell in line.cells.items():
            values = [cell.value, cell.low, cell.high, cell.pictures]
            difference = cell.difference or ("", "", "")
            best = no_formula(board.best.get((line.data, name), ""))
            writer.writerow(
                [
                    no_formula(line.data),
                    no_formula(line.method),
                    name,
                    *values,
                    best,
                    *difference,
                    line.milliseconds,
                    line.megabytes,
                ]
            )
    with atomic_write(path) as temporary:
        temporary.write_text(text.getvalue(), encoding="utf-8")


def write_html(board: Leaderboard, path: Path, pictures: Mapping[str, str] | None = None) -> None:
    """One page that needs nothing beside it: sortable tables, what the numbers mean, and the protocol behind each.

    Args:
        pictures: titles to figures, such as the curves, as ``vector_uri`` gives them.
    """
    found = {"classifier": board.protocol["classifier"], "board": leaderboard_part(board, pictures)}
    with atomic_write(path) as temporary:
        temporary.write_text(templates().get_template("leaderboard.html").render(found), encoding="utf-8")


def leaderboard_part(board: Leaderboard, pictures: Mapping[str, str] | None = None) -> Markup:
    """The same without a page around it, for pages that have more; arguments as ``write_html``."""
    environment = templates()
    environment.filters |= {"number": short_number, "spread": interval_text}
    general, rules = general_and_rules(board.protocol.get("in_words", []), board.metrics)
    part = environment.get_template("_leaderboard.html").render(
        board=board,
        in_general=general,
        rules=rules,
        headings={name: heading(board, name) for name in board.metrics},
        groups=list(dict.fromkeys(line.data for line in board.lines)),
        protocol=json.dumps(board.protocol, indent=2, default=str),
        pictures=dict(pictures or {}),
        meanings={name: meaning(board, name) for name in board.metrics},
    )
    return Markup(part)


def heading(board: Leaderboard, metric: str) -> str:
    """A metric's name, an arrow to where it is better, and its unit."""
    facts = board.protocol["metrics"][metric]
    arrow = {True: " ↑", False: " ↓", None: ""}[facts["higher_is_better"]]
    return f"{metric}{arrow}" + (f" ({facts['unit']})" if facts["unit"] else "")


def general_and_rules(in_words: Sequence[str], metrics: Collection[str]) -> tuple[list[str], dict[str, str]]:
    """What was done, and apart from it how each metric is set, which those who know the metric want to know.

    Args:
        in_words: lines of the protocol; that of a metric is the last that begins with its name.

    Example:
        >>> general_and_rules(["Pictures: 6.", "pxap: maps of theirs", "pxap: bins 100"], ["pxap"])
        (['Pictures: 6.', 'pxap: maps of theirs'], {'pxap': 'bins 100'})
    """
    last = {line.partition(": ")[0]: index for index, line in enumerate(in_words)}
    mine = {last[name] for name in metrics if name in last}
    rules = {line.partition(": ")[0]: line.partition(": ")[2] for i, line in enumerate(in_words) if i in mine}
    return [line for i, line in enumerate(in_words) if i not in mine], rules


def meaning(board: Leaderboard, metric: str) -> str:
    """What a metric's number says, for who never heard of it, by that of the best method; empty where nothing is known.

    The number is of all data sets together, or of the last one that has it.
    """
    says, unit = board.protocol["metrics"][metric]["says"], board.protocol["metrics"][metric]["unit"]
    lines = [line for line in board.lines if metric in line.cells and not math.isnan(line.cells[metric].value)]
    if not says or not lines:
        return ""
    last = [line for line in lines if line.data == lines[-1].data]
    chosen = next((line for line in last if board.best.get((line.data, metric)) == line.method), last[0])
    number = short_number(chosen.cells[metric].value)
    value = f"{number}%" if unit == "%" else f"{number} {unit}".strip()
    return f"{metric} {value}, as {chosen.method} has it, means that {says.replace('{value}', value)}."
