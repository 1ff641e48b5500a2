"""A study's outcome as table on the terminal, JSON, CSV, Markdown and picture, and as a page."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

from rich.table import Table

from maskwise.core.files import atomic_write
from maskwise.report.document import write_document
from maskwise.studies.account import (
    DIFFERENCES,
    cell_text,
    circumstances,
    columns,
    difference_tables,
    findings,
    missing,
    printed_text,
)
from maskwise.studies.difference import row_differences
from maskwise.studies.overview import write_overview
from maskwise.studies.run import Outcome
from maskwise.studies.study_page import page_parts


def write_report(outcome: Outcome, folder: Path, ending: str = "png", dpi: float = 110) -> list[Path]:
    """``NAME.json``, ``.csv``, ``.md``, ``.html``, the figure, and ``overview.md`` of all studies there.

    Args:
        ending: of the figure: png, pdf, svg or jpg.
        dpi: dots an inch of it.
    """
    name = outcome.study.name
    texts = {
        ".json": json.dumps(outcome_data(outcome), indent=1, default=str) + "\n",
        ".csv": as_csv(outcome),
        ".md": markdown(outcome, ending),
    }
    for suffix, text in texts.items():
        with atomic_write(folder / f"{name}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    if outcome.study.figure is not None:
        outcome.study.figure(outcome, folder / f"{name}.{ending}", dpi)
    write_document(folder / f"{name}.html", *page_parts(outcome), outcome.protocol())
    made = [folder / f"{name}{suffix}" for suffix in (*texts, ".html", f".{ending}")]
    return [*(path for path in made if path.is_file()), write_overview(folder)]


def outcome_data(outcome: Outcome) -> dict[str, Any]:
    """Everything, as plain data."""
    table = outcome.printed
    rows = []
    for row in outcome.rows:
        ours = {c: outcome.numbers[row, c].plain() for c in columns(outcome) if (row, c) in outcome.numbers}
        theirs = {} if table is None else {c: table.numbers[row, c] for c in table.columns if (row, c) in table.numbers}
        rows.append({"row": row, "here": ours, "printed": theirs, "note": outcome.notes.get(row, "")})
    return {
        "protocol": outcome.protocol(), "rows": rows,
        "printed": None if table is None else {"source": table.source, "notes": table.notes},
        "differences": [one.plain() for of in row_differences(outcome).values() for one in of],
        "claims": [finding.plain() for finding in outcome.claim_results], "failures": outcome.failures,
        "not_run": outcome.not_run, "seconds": round(outcome.seconds, 1),
    }  # fmt: skip


def as_csv(outcome: Outcome) -> str:
    """A line a number: row, column, value, interval, what it is over, and the printed one."""
    table, text = outcome.printed, io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["row", "column", "value", "low", "high", "over", "seeds", "printed"])
    for (row, column), number in outcome.numbers.items():
        theirs = "" if table is None else table.numbers.get((row, column), "")
        lines.writerow([row, column, *("" if v is None else v for v in number.plain().values()), theirs])
    return text.getvalue()


def markdown(outcome: Outcome, ending: str = "png") -> str:
    """A page: the table beside the printed one, a verdict on each claim, and how it came about."""
    study, names = outcome.study, columns(outcome)
    with_notes = any(outcome.notes.get(row) for row in outcome.rows)
    header = ["", *(part for c in names for part in ((c, "printed") if _has(outcome, c) else (c,)))]
    header += ["note"] if with_notes else []
    lines = [
        f"# {study.name}",
        "",
        f"{study.title[0].upper()}{study.title[1:]}",
        "",
        _row(header),
        _row(["---"] * len(header)),
    ]
    for row in outcome.rows:
        cells = [outcome.label(row)]
        for c in names:
            cells += [cell_text(outcome.numbers.get((row, c)))]
            cells += [printed_text(outcome, row, c)] if _has(outcome, c) else []
        lines.append(_row([*cells, *([outcome.notes.get(row, "")] if with_notes else [])]))
    if study.figure is not None:
        lines += ["", f"![{study.name}]({study.name}.{ending})"]
    if outcome.claim_results:
        nothing = ["This scale shows that the works run; its verdicts mean nothing.", ""]
        lines += ["", "## Claims", "", *(nothing if outcome.config.scale.smoke else [])]
        lines += [f"- **{verdict}**: {text}" for verdict, text in findings(outcome)]
    for than, (names, rows) in difference_tables(outcome).items():
        lines += ["", f"## Less {than}", "", DIFFERENCES, "", _row(names), _row(["---"] * len(names))]
        lines += [_row(cells) for cells in rows]
    if missing(outcome):
        lines += ["", "## Not there", "", *(f"- {line}" for line in missing(outcome))]
    lines += ["", "## How", "", *(f"- {line}" for line in circumstances(outcome))]
    return "\n".join(lines) + "\n"


def _has(outcome: Outcome, column: str) -> bool:
    return any(printed_text(outcome, row, column) for row in outcome.rows)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def outcome_table(outcome: Outcome) -> Table:
    """For the terminal; a number in brackets is the printed one."""
    table = Table("", title=f"{outcome.study.name}, {outcome.config.scale.name}", title_justify="left")
    names = columns(outcome)
    for name in names:
        table.add_column(name, justify="right")
    for row in outcome.rows:
        cells = []
        for c in names:
            theirs = printed_text(outcome, row, c)
            text = cell_text(outcome.numbers.get((row, c))).replace("[", "\\[")
            cells.append(f"{text}\n[dim]({theirs})[/dim]" if theirs else text)
        table.add_row(outcome.label(row), *cells)
    return table
