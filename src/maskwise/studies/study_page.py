"""A study's outcome as a page of its own."""

from __future__ import annotations

from maskwise.report.document import PageSection, PageTable, vector_uri
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
from maskwise.studies.run import Outcome


def page_parts(outcome: Outcome) -> tuple[str, str, list[PageSection]]:
    """Title, lead and sections of the page, as ``write_document`` takes them."""
    study = outcome.study
    legend = [f"{name}: {outcome.axes.get(name, name)}" for name in columns(outcome)]
    reading = "Each number with its 95% interval; beneath it, in round brackets, what the paper prints."
    sections = [PageSection("What is measured", [reading], legend), PageSection("Numbers", table=_numbers(outcome))]
    if study.figure is not None:
        draw = study.figure
        figure = vector_uri(lambda path: draw(outcome, path, 110))
        sections.append(PageSection(figure=figure, caption=f"{study.name}: {study.title}"))
    if outcome.claim_results:
        nothing = ["This scale shows that the works run; its verdicts mean nothing."] * outcome.config.scale.smoke
        points = [f"{verdict}: {text}" for verdict, text in findings(outcome)]
        sections.append(PageSection("What the paper claims, and the verdict", nothing, points))
    for than, (names, rows) in difference_tables(outcome).items():
        sections.append(PageSection(f"Less {than}", [DIFFERENCES], table=PageTable(names, rows, f"less {than}")))
    if missing(outcome):
        sections.append(PageSection("Not there", points=missing(outcome)))
    sections.append(PageSection("How", points=circumstances(outcome)))
    return study.name, f"{study.title[0].upper()}{study.title[1:]}", sections


def _numbers(outcome: Outcome) -> PageTable:
    names = columns(outcome)
    with_notes = any(outcome.notes.get(row) for row in outcome.rows)
    rows = []
    for row in outcome.rows:
        cells = [outcome.label(row)]
        for column in names:
            theirs = printed_text(outcome, row, column)
            ours = cell_text(outcome.numbers.get((row, column)))
            cells.append(f"{ours}\n({theirs})" if theirs else ours)
        rows.append([*cells, outcome.notes.get(row, "")] if with_notes else cells)
    return PageTable(["", *names, *(["note"] if with_notes else [])], rows, outcome.study.title)
