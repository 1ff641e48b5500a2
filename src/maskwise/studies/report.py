"""A study's outcome as table on the terminal, JSON, CSV, Markdown and picture."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

from rich.table import Table

from maskwise.core.files import atomic_write
from maskwise.report.leaderboard import short_number as shown
from maskwise.studies.claim import ClaimResult, Condition
from maskwise.studies.estimate import Estimate
from maskwise.studies.jobs import Job
from maskwise.studies.overview import write_overview
from maskwise.studies.run import Outcome


def write_report(outcome: Outcome, folder: Path) -> list[Path]:
    """``NAME.json``, ``.csv``, ``.md``, ``.png`` where there is a figure, and ``overview.md`` of all studies there."""
    name = outcome.study.name
    texts = {
        ".json": json.dumps(outcome_data(outcome), indent=1, default=str) + "\n",
        ".csv": as_csv(outcome),
        ".md": markdown(outcome),
    }
    for suffix, text in texts.items():
        with atomic_write(folder / f"{name}{suffix}") as temporary:
            temporary.write_text(text, encoding="utf-8")
    if outcome.study.figure is not None:
        outcome.study.figure(outcome, folder / f"{name}.png")
    made = [folder / f"{name}{suffix}" for suffix in (*texts, ".png")]
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
        "claims": [finding.plain() for finding in outcome.claim_results], "failures": outcome.failures,
        "not_run": outcome.not_run, "seconds": round(outcome.seconds, 1),
    }  # fmt: skip


def columns(outcome: Outcome) -> list[str]:
    """Those that some row has a number in, in the study's order."""
    there = {c for (_, c), number in outcome.numbers.items() if not math.isnan(number.value)}
    return [column for column in outcome.columns if column in there]


def as_csv(outcome: Outcome) -> str:
    """A line a number: row, column, value, interval, what it is over, and the printed one."""
    table, text = outcome.printed, io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(["row", "column", "value", "low", "high", "over", "seeds", "printed"])
    for (row, column), number in outcome.numbers.items():
        theirs = "" if table is None else table.numbers.get((row, column), "")
        lines.writerow([row, column, *("" if v is None else v for v in number.plain().values()), theirs])
    return text.getvalue()


def cell_text(number: Estimate | None) -> str:
    if number is None or math.isnan(number.value):
        return "-"
    low, high = number.interval()
    return shown(number.value) if math.isnan(low) else f"{shown(number.value)} [{shown(low)}, {shown(high)}]"


def printed_text(outcome: Outcome, row: str, column: str) -> str:
    table = outcome.printed
    found = None if table is None else table.numbers.get((row, column))
    return "" if found is None else f"{found:g}"


def markdown(outcome: Outcome) -> str:
    """A page: the table beside the printed one, a verdict on each claim, and how it came about."""
    study, protocol = outcome.study, outcome.protocol()
    table, names = outcome.printed, columns(outcome)
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
        cells = [row]
        for c in names:
            cells += [cell_text(outcome.numbers.get((row, c)))]
            cells += [printed_text(outcome, row, c)] if _has(outcome, c) else []
        lines.append(_row([*cells, *([outcome.notes.get(row, "")] if with_notes else [])]))
    if study.figure is not None:
        lines += ["", f"![{study.name}]({study.name}.png)"]
    if outcome.claim_results:
        nothing = (
            ["This scale shows that the works run; its verdicts mean nothing.", ""]
            if outcome.config.scale.smoke
            else []
        )
        lines += ["", "## Claims", "", *nothing, *(_finding(finding) for finding in outcome.claim_results)]
    if outcome.failures or outcome.not_run:
        lines += ["", "## Not there", ""]
        lines += [f"- {cell}: {why}" for cell, why in outcome.failures.items()]
        lines += [f"- Not run: {', '.join(outcome.not_run)}."] if outcome.not_run else []
    lines += ["", "## How", ""]
    if table is not None:
        lines += [f"- Printed: {table.source}.", *(f"- {note}" for note in table.notes)]
    lines += [f"- {note}" for note in study.notes]
    jobs = _jobs(outcome)
    sides = {"Measured on": protocol["test"]}
    scale = outcome.config.scale
    if any(job.trains and None in job.packaged_maskers(scale) for job in jobs):
        sides["Trained on"] = protocol["train"]
    lines += [f"- {what}: {'; '.join(_data(d, outcome, what) for d in sets)}." for what, sets in sides.items() if sets]
    ready = list(dict.fromkeys(name for job in jobs for name in job.packaged_maskers(scale) if name))
    lines += [f"- Maskers that come with the package, of one training each: {', '.join(ready)}."] if ready else []
    roles = dict.fromkeys(job.network for job in jobs)
    lines += [
        f"- Scale {protocol['scale']}: {', '.join(protocol['classifiers'][role] for role in roles)}; pictures: "
        f"{protocol['resize']}; class explained: {protocol['target']}.",
        f"- Intervals: {protocol['interval']}.",
        f"- Machine: {protocol['machine']}; all cells together {outcome.seconds / 60:.1f} minutes.",
    ]
    lines += [f"- Judges: {', '.join(protocol['judges'])}."] if any(job.needs_judges for job in jobs) else []
    return "\n".join(lines) + "\n"


def _jobs(outcome: Outcome) -> list[Job]:
    """What filled the table."""
    return [cell.job for cell in outcome.study.cells(outcome.config.scale) if cell.row not in outcome.not_run]


def _data(data: dict[str, Any], outcome: Outcome, what: str) -> str:
    limit = outcome.config.limit if what == "Measured on" else None
    part = "" if limit is None or limit >= data["pictures"] else f"{limit} of "
    return f"{data['source']} ({part}{data['pictures']} pictures)"


def _has(outcome: Outcome, column: str) -> bool:
    return any(printed_text(outcome, row, column) for row in outcome.rows)


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _finding(finding: ClaimResult) -> str:
    there = [part for part in finding.parts if not math.isnan(part.number.value)]
    silent = "" if finding.missing else " These pictures say nothing of it."  # for want of the truth that it asks for
    numbers = f" {'; '.join(map(_part, there))}." if there else silent
    gaps = f" There is no {', no '.join(finding.missing)}." if finding.missing else ""
    return f"- **{finding.verdict}**: {finding.text}.{numbers}{gaps}"


def _part(part: Condition) -> str:
    return f"{part.what}: {cell_text(part.number)}, {part.verdict}"


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
        table.add_row(row, *cells)
    return table
