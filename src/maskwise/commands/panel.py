"""``maskwise panel``."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Figures, Model, Out, Output, make_explainer, names_of
from maskwise.commands.groups.maps import MapFolders, given_maps, named_folders
from maskwise.commands.groups.measuring import BatchSize, Data, Limit, Resized, SkipDamaged
from maskwise.commands.registration import command
from maskwise.core.errors import InputError
from maskwise.core.text import how_many


@command(
    "panel",
    section="Measure",
    example="maskwise panel --data imagenet:ILSVRC2012@val --limit 1000 --methods casm,casm_baseline --out panel",
)
def panel_command(
    data: Data,
    methods: Annotated[
        str,
        typer.Option("--methods", help="Names with commas between.", autocompletion=completion.method_list),
    ] = "casm,casm_baseline",
    classifiers: Annotated[
        str,
        typer.Option(
            "--classifiers",
            help="The judges, commas between; NAME=FILE takes weights of your own.",
            autocompletion=completion.classifier_list,
        ),
    ] = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2",
    maps: MapFolders = None,
    limit: Limit = None,
    resize: Resized = "squash",
    rule: Annotated[str, typer.Option("--rule", help="Cut maps by rank or value.")] = "rank",
    fill: Annotated[str, typer.Option("--fill", help="What is masked becomes black or the mean colour.")] = "black",
    truth: Annotated[
        str, typer.Option("--truth", help="Right is the label, or the answer on the clean picture.")
    ] = "label",
    batch: BatchSize = 8,
    seed: Annotated[int, typer.Option("--seed", help="Of the random masks.")] = 0,
    skip_damaged: SkipDamaged = False,
    out: Out = Path("panel"),
    *,
    model: Model,
    figures: Figures,
    output: Output,
) -> None:
    """Accuracy of many classifiers on masked-in, masked-out and inpainted pictures (CASM, Fig. 3)."""
    from rich.table import Table

    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import atomic_write, check_writable
    from maskwise.evaluation import Contender
    from maskwise.evaluation.panel import PanelSettings, classifier_panel
    from maskwise.report.panel import panel_figure

    keep_freed_memory()
    check_writable(out)
    figures.check()
    if rule not in ("rank", "value") or resize not in ("squash", "crop"):
        raise InputError("`rule` is rank or value, and `resize` is squash or crop")
    settings = PanelSettings(rule, fill, resize, truth, limit, batch, seed, skip_damaged)  # type: ignore[arg-type]
    classifier = model.load()
    judges = {}
    for text in names_of(classifiers):
        name, _, file = text.partition("=")
        judge = replace(model, weights=Path(file) if file else None, mean=None, std=None, size=None)
        judges[name] = judge.load(name)
    contenders = [
        Contender.of(name, make_explainer(name, classifier, {}, model.precision)) for name in names_of(methods)
    ] + [Contender.of(name, explainer) for name, explainer in given_maps(named_folders(maps), {}).items()]
    with output.bar("pictures") as step:
        found = classifier_panel(contenders, classifier, judges, data, settings, step)
    panel_figure(found, out / f"panel.{figures.format}", figures.dpi)
    with atomic_write(out / "panel.json") as temporary:
        temporary.write_text(json.dumps(found.plain(), indent=2) + "\n", encoding="utf-8")
    table = Table("mask", *("accuracy " + c for c in ("masked-in", "masked-out", "inpainted")))
    for mask, values in zip(found.masks, found.accuracy.mean(1).tolist(), strict=True):
        table.add_row(mask, *(f"{value:.1f}" for value in values))
    output.tell(
        found.plain(),
        table,
        lines=(f"mean over {how_many(len(judges), 'classifier')}; {out / f'panel.{figures.format}'}",),
    )
