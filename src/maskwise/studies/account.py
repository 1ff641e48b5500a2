"""What is to be said of a study's outcome: verdicts, differences, what is not there, and how it came about."""

from __future__ import annotations

import math
from typing import Any

from maskwise.report.leaderboard import short_number as shown
from maskwise.studies.claim import ClaimResult, Condition
from maskwise.studies.difference import RowDifference, row_differences
from maskwise.studies.estimate import Estimate
from maskwise.studies.jobs import Job
from maskwise.studies.run import Outcome

DIFFERENCES = "Paired differences with 95% intervals; better or worse where the interval is clear of 0."


def columns(outcome: Outcome) -> list[str]:
    """Those that some row has a number in, in the study's order."""
    return [column for column in outcome.columns if column in outcome.measured]


def cell_text(number: Estimate | None) -> str:
    if number is None or math.isnan(number.value):
        return "-"
    low, high = number.interval()
    return shown(number.value) if math.isnan(low) else f"{shown(number.value)} [{shown(low)}, {shown(high)}]"


def printed_text(outcome: Outcome, row: str, column: str) -> str:
    table = outcome.printed
    found = None if table is None else table.numbers.get((row, column))
    return "" if found is None else f"{found:g}"


def findings(outcome: Outcome) -> list[tuple[str, str]]:
    """The verdict on each claim, and the numbers behind it."""
    return [(finding.verdict, _finding(finding)) for finding in outcome.claim_results]


def difference_tables(outcome: Outcome) -> dict[str, tuple[list[str], list[list[str]]]]:
    """Header and rows of a table for each row that others are held against, by its name."""
    found = {}
    for than, differences in row_differences(outcome).items():
        by_place = {(d.row, d.column): d for d in differences}
        names = list(dict.fromkeys(d.column for d in differences))
        rows = [
            [outcome.label(row), *(_difference_text(by_place.get((row, name))) for name in names)]
            for row in dict.fromkeys(d.row for d in differences)
        ]
        found[outcome.label(than)] = (["", *names], rows)
    return found


def _difference_text(difference: RowDifference | None) -> str:
    if difference is None:
        return "-"
    said = "" if difference.verdict == "undecided" else f", {difference.verdict}"
    return cell_text(difference.number) + said


def missing(outcome: Outcome) -> list[str]:
    """Cells that failed or were not run."""
    found = [f"{cell}: {why}" for cell, why in outcome.failures.items()]
    left_out = [*outcome.not_run, *outcome.parts_not_run]
    return found + ([f"Not run: {', '.join(left_out)}."] if left_out else [])


def circumstances(outcome: Outcome) -> list[str]:
    """Pictures, networks, intervals, machine: what to know of the numbers."""
    study, protocol, table = outcome.study, outcome.protocol(), outcome.printed
    lines = [] if table is None else [f"Printed: {table.source}.", *table.notes]
    lines += study.notes
    jobs = _jobs(outcome)
    sides = {"Measured on": protocol["test"]}
    masked = ", ".join(dict.fromkeys(name for job in jobs for name in job.on_masks()))
    if masked and protocol["masked"]:
        sides[f"{masked} measured on"] = protocol["masked"]
    scale = outcome.config.scale
    if any(job.trains and None in job.packaged_maskers(scale) for job in jobs):
        sides["Trained on"] = protocol["train"]
    lines += [f"{what}: {'; '.join(_data(d, outcome, what) for d in sets)}." for what, sets in sides.items() if sets]
    own = protocol["overrides"] if any(job.trains for job in jobs) else []
    lines += [f"In every training, instead of the scale's: {', '.join(own)}."] if own else []
    ready = list(dict.fromkeys(name for job in jobs for name in job.packaged_maskers(scale) if name))
    lines += [f"Maskers that come with the package, of one training each: {', '.join(ready)}."] if ready else []
    roles = dict.fromkeys(job.network for job in jobs if job.network)
    networks = f"{', '.join(protocol['classifiers'][role] for role in roles)}; pictures: {protocol['resize']}"
    networks += f"; class explained: {protocol['target']}"
    lines += [
        f"Scale {protocol['scale']}{': ' + networks if roles else ''}.",
        f"Intervals: {protocol['interval']}.",
        f"Machine: {protocol['machine']}; all cells together {outcome.seconds / 60:.1f} minutes.",
    ]
    lines += [f"Judges: {', '.join(protocol['judges'])}."] if any(job.needs_judges for job in jobs) else []
    return lines


def _jobs(outcome: Outcome) -> list[Job]:
    """What filled the table."""
    left_out = {*outcome.not_run, *outcome.parts_not_run}
    return [cell.job for cell in outcome.study.cells(outcome.config.scale) if not {cell.row, cell.name} & left_out]


def _data(data: dict[str, Any], outcome: Outcome, what: str) -> str:
    limit = outcome.config.limit if what.lower().endswith("measured on") else None
    part = "" if limit is None or limit >= data["pictures"] else f"{limit} of "
    return f"{data['source']} ({part}{data['pictures']} pictures)"


def _finding(finding: ClaimResult) -> str:
    there = [part for part in finding.parts if not math.isnan(part.number.value)]
    silent = "" if finding.missing else " These pictures say nothing of it."  # for want of the truth that it asks for
    numbers = f" {'; '.join(map(_part, there))}." if there else silent
    gaps = f" There is no {', no '.join(finding.missing)}." if finding.missing else ""
    return f"{finding.text}.{numbers}{gaps}"


def _part(part: Condition) -> str:
    return f"{part.what}: {cell_text(part.number)}, {part.verdict}"
