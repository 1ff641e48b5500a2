"""``maskwise study``: a table of the papers, rerun here."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Compute, Figures, Out, Output, names_of
from maskwise.commands.groups.measuring import SkipDamaged
from maskwise.commands.groups.training import RecipeSettings
from maskwise.commands.plain import complain
from maskwise.commands.registration import command
from maskwise.core.errors import InputError

JUDGES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


@command(
    "study",
    section="Laboratory",
    after="same",
    example="maskwise study --list\nmaskwise study sess-pointing --scale smoke --out studies",
)
def study_command(
    name: Annotated[str | None, typer.Argument(help="See --list.", autocompletion=completion.study_names)] = None,
    show: Annotated[
        bool,
        typer.Option("--list", help="The studies, or with NAME its cells: costs, and what is done in --out."),
    ] = False,
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
            help="Pictures with masks, for columns that need them where those to measure on have none: PxAP. "
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
        from maskwise.studies.listing import cell_lines, study_lines

        if name is None:
            lines = study_lines([studies.get(one) for one in studies.names()], scale_of(scale), out)
        else:
            lines = cell_lines(studies.get(name), scale_of(scale), out)
        _list(lines, scale, output)
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


def _list(rows: list[dict[str, Any]], scale: str, output: Output) -> None:
    from rich.table import Table

    shown = Table(*(rows[0] if rows else {}), title=f"at scale {scale}", title_justify="left")
    for row in rows:
        shown.add_row(*("" if v is None else f"{v:,}" if isinstance(v, int) else str(v) for v in row.values()))
    output.tell(rows, shown)
