"""``maskwise study``: a table of the papers, rerun here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Compute, Figures, Out, Output, names_of
from maskwise.commands.groups.measuring import SkipDamaged
from maskwise.commands.groups.training import RecipeSettings
from maskwise.commands.plain import complain
from maskwise.commands.registration import command
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.studies import Study

JUDGES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


@command(
    "study",
    section="Laboratory",
    after="same",
    example="maskwise study --list\nmaskwise study sess-pointing --scale smoke --out studies",
)
def study_command(
    name: Annotated[str | None, typer.Argument(help="See --list.", autocompletion=completion.study_names)] = None,
    show: Annotated[bool, typer.Option("--list", help="The studies; with NAME its cells and what each costs.")] = False,
    data: Annotated[
        list[str] | None,
        typer.Option(
            "--data",
            help="To train on; its test or val split is measured on. May be given again.",
            autocompletion=completion.data_sources,
        ),
    ] = None,
    test_data: Annotated[
        list[str] | None,
        typer.Option(
            "--test-data", help="To measure on instead. May be given again.", autocompletion=completion.data_sources
        ),
    ] = None,
    mask_data: Annotated[
        list[str] | None,
        typer.Option(
            "--mask-data",
            help="Pictures with masks, for columns that need them where those to measure on have none (learned: PxAP). "
            "May be given again.",
            autocompletion=completion.data_sources,
        ),
    ] = None,
    scale: Annotated[
        str,
        typer.Option(
            "--scale",
            help="smoke (seconds), small (two CPU cores), medium (a GPU) or full (the papers').",
            autocompletion=completion.study_scales,
        ),
    ] = "small",
    only: Annotated[
        list[str] | None,
        typer.Option("--only", help="Do this cell only; may be given again. The table also has those that are done."),
    ] = None,
    seeds: Annotated[
        int | None, typer.Option("--seeds", min=1, help="Trainings of each cell; the scale's own otherwise.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Pictures of each test set; the scale's own otherwise.")
    ] = None,
    overrides: RecipeSettings = None,
    judges: Annotated[
        str | None,
        typer.Option(
            "--judges",
            help="casm-panel: classifiers, commas between; NAME=FILE takes weights of your own.",
            autocompletion=completion.classifier_list,
        ),
    ] = None,
    classifier: Annotated[
        list[str] | None,
        typer.Option(
            "--classifier",
            help="NAME or NAME=FILE instead of the scale's network; given twice, the second one's, too.",
            autocompletion=completion.classifier_names,
        ),
    ] = None,
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="Processes, each with a cell and a GPU of its own.")
    ] = 1,
    skip_damaged: SkipDamaged = False,
    out: Out = Path("studies"),
    *,
    compute: Compute,
    figures: Figures,
    output: Output,
) -> None:
    """A table of the papers, rerun here: numbers with intervals beside the printed ones, a verdict on each claim."""
    from maskwise.studies import studies
    from maskwise.studies.scale import scale_of

    if show or name is None:
        _list([studies.get(n) for n in ([name] if name else studies.names())], scale, output, cells=name is not None)
        return
    if compute.imports and devices > 1:
        raise InputError("files of `imports` are run in this process only: leave `devices` at 1")
    chosen, size = studies.get(name), scale_of(scale)
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import check_writable
    from maskwise.studies.report import outcome_data, outcome_table, write_report
    from maskwise.studies.run import run_study
    from maskwise.studies.run_config import RunConfig, sources_of

    keep_freed_memory()
    check_writable(out)
    figures.check()
    device = compute.on().type
    named = [_named(text) for text in classifier or []]
    size = replace(
        size, classifiers={**size.classifiers, **dict(zip(("main", "second"), [n for n, _ in named], strict=False))}
    )
    train, test = sources_of(data or [], test_data or [], size)
    asked = dict(_named(text) for text in names_of(judges or ""))
    config = RunConfig(
        size, train, test, asked or dict.fromkeys([size.classifiers["main"]] if size.smoke else JUDGES),
        tuple(overrides or ()), limit or size.limit, device, compute.precision,  # type: ignore[arg-type]
        {n: file for n, file in named if file is not None}, masked=tuple(mask_data or ()),
    )  # fmt: skip
    if skip_damaged:
        config = config.without_damaged()
    with output.bar("cells") as step:
        outcome = run_study(chosen, config, out, seeds=seeds, only=only or [], devices=devices, progress=step)
    files = write_report(outcome, out, figures.format, figures.dpi)
    findings = (f"{finding.verdict}: {finding.text}" for finding in outcome.claim_results)
    written = f"{', '.join(path.name for path in files)} in {out}"
    output.tell(outcome_data(outcome), outcome_table(outcome), lines=(*findings, written))
    for cell, why in outcome.failures.items():
        complain(f"{chosen.name}: cell {cell}: {why}")
    if outcome.failures:
        raise typer.Exit(1)


def _named(text: str) -> tuple[str, str | None]:
    name, _, file = text.strip().partition("=")
    return name, file or None


def _list(found: list[Study], scale: str, output: Output, cells: bool) -> None:
    from rich.table import Table

    from maskwise.studies.jobs.base import JobCost
    from maskwise.studies.published import printed
    from maskwise.studies.scale import scale_of

    size, rows = scale_of(scale), list[dict[str, Any]]()
    for one in found:
        grid = [(cell, cell.job.cost(size), size.seeds if cell.job.trains else 1) for cell in one.cells(size)]
        if cells:
            rows += [
                {
                    "cell": cell.name,
                    "seeds": n,
                    "training steps": n * cost.steps,
                    "maps": n * cost.maps,
                    "note": cell.note,
                }
                for cell, cost, n in grid
            ]
            continue
        total = sum((JobCost(n * cost.steps, n * cost.maps) for _, cost, n in grid), JobCost())
        shares = [(key, n * steps) for cell, _, n in grid for key, steps in cell.job.shared(size).items()]
        total += JobCost(sum(dict(shares).values()) - sum(steps for _, steps in shares))
        table = "" if one.printed is None else printed(one.printed).source
        rows.append({"study": one.name, "asks": one.title, "table": table, "claims": len(one.claims),
                     "cells": sum(n for *_, n in grid), "training steps": total.steps, "maps": total.maps})  # fmt: skip
    shown = Table(*(rows[0] if rows else {}), title=f"at scale {scale}", title_justify="left")
    for row in rows:
        shown.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    output.tell(rows, shown)
