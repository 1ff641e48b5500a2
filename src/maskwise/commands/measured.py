"""What ``maskwise evaluate`` and ``maskwise compare`` share: rows, then tables and pages."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from maskwise.commands.groups import Figures, Output
from maskwise.commands.plain import complain
from maskwise.core.text import printable

if TYPE_CHECKING:
    from markupsafe import Markup

    from maskwise.classifiers import Classifier
    from maskwise.data import DataSet
    from maskwise.evaluation import Contender, Leaderboard, Measured, Settings
    from maskwise.measures import Metric

REPORT = ("report.html",)
AGREEMENT = ("agreement.md", "agreement.csv", "agreement.json")
ENDLESS = 1_000_000  # characters in a line of a pipe


def measure_and_tell(
    contenders: list[Contender],
    classifier: Classifier,
    data: Sequence[str | DataSet],
    measures: dict[str, Metric],
    settings: Settings,
    out: Path | None,
    save_maps: bool,
    figures: Figures,
    output: Output,
    pages: Collection[str] = (),
) -> tuple[Measured, Markup | None]:
    """The rows, then tables and pages; under ``torchrun`` every process does its pictures and one writes and speaks.

    Args:
        pages: names of the files that the caller will write beside the leaderboard.

    Returns:
        The rows, with the contenders and data sets as they were measured; and the leaderboard as a part of a page,
        where this process wrote one.

    Raises:
        InputError: as ``maskwise.evaluation.measure``.
    """
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.data.damaged import damaged_line
    from maskwise.evaluation import leaderboard, measure
    from maskwise.evaluation.processes import launched

    keep_freed_memory()
    with launched() as speaks, output.bar("pictures x methods") if speaks else nullcontext() as step:
        measured = measure(contenders, classifier, data, measures, settings, out, save_maps, step)
        if not speaks:
            return measured, None
        board = leaderboard(measured)
    for source, names in measured.damaged.items():
        complain(f"warning: {source}: {damaged_line(names)}")
    part = None
    if out is not None:
        from maskwise.report.leaderboard import write_all

        part = write_all(board, measured, out, figures.format, figures.dpi)
        if older := [name for name in (*REPORT, *AGREEMENT) if name not in pages and (out / name).exists()]:
            complain(
                f"warning: {', '.join(older)} in {printable(out)}: of an earlier run, whose numbers may be others; "
                "have it written anew (`report`, `agreement`), or delete it"
            )
    _tell(board, out, output)
    return measured, part


def _tell(board: Leaderboard, out: Path | None, output: Output) -> None:
    from rich.console import Console

    from maskwise.report.leaderboard import rich_tables

    width = Console().width if sys.stdout.isatty() else ENDLESS
    groups = list(dict.fromkeys(line.data for line in board.lines))
    # A leaderboard of all metrics on several data sets is long: here the pooled one, the others are on the page.
    tables = rich_tables(board, width, groups if out is None else groups[-1:])
    lines = [f"{name} was not measured: {why}" for name, why in board.left_out.items()]
    lines += [printable(line) for line in board.protocol["in_words"]]
    if out is not None:
        lines.append(f"leaderboard.html, .json, .csv and rows.db in {printable(out)}")
    for warning in board.warnings:
        complain(f"warning: {warning}")
    output.tell(board.plain(), *tables, lines=tuple(lines))
