"""``maskwise evaluate``, ``maskwise compare`` and ``maskwise panel``."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.commands.groups import ungrouped
from maskwise.commands.options import (
    Enhance,
    EnhanceEach,
    Json,
    MaskerFile,
    Model,
    Options,
    Sharpening,
    bar,
    each_with_sess,
    key_values,
    make_explainer,
    method_options,
)
from maskwise.core.errors import InputError
from maskwise.plain import printable, speaks_plainly

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.data import DataSet
    from maskwise.evaluation import Contender, Leaderboard, Settings
    from maskwise.measures import Metric

Data = Annotated[
    list[str],
    typer.Option("--data", help="Folder, zip, zip@split or name:… (`maskwise datasets`); may be given again."),
]
Metrics = Annotated[str, typer.Option("--metrics", help="Names with commas between (`maskwise metrics`), or all.")]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only so many pictures of each data set, evenly spread over it.")
]
Resized = Annotated[
    str, typer.Option("--resize", help="squash to the input size, crop (shorter side, centre), or none: its own size.")
]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="Pictures at once.")]
Kept = Annotated[
    Path | None, typer.Option("--out", help="Folder for rows and tables; a killed run goes on from the rows there.")
]


@dataclass(frozen=True)
class Measuring:
    """What is measured, and how pictures come to the classifier."""

    metric_set: Annotated[
        list[str] | None,
        typer.Option("--metric-set", help="metric.key=value, an option of a metric; may be given again."),
    ] = None
    limit: Limit = None
    resize: Resized = "squash"
    target: Annotated[
        str, typer.Option("--target", help="The class explained: predicted, label, or each class of a picture.")
    ] = "predicted"
    difficult: Annotated[
        Path | None, typer.Option("--difficult", help="pointing_difficult: a list of PICTURE CLASS, or TorchRay's.")
    ] = None
    apart: Annotated[
        Path | None,
        typer.Option("--apart", help="A masker's file: the classes it was trained on and the others, apart."),
    ] = None
    batch: BatchSize = 8
    save_maps: Annotated[bool, typer.Option("--save-maps", help="Keep the maps, too, to be scored again later.")] = (
        False
    )

    def settings(self, out: Path | None) -> Settings:
        from maskwise.core.files import check_writable
        from maskwise.data.difficult import DifficultCases
        from maskwise.evaluation import Settings

        if out is not None:
            check_writable(out)
        if self.save_maps and out is None:
            raise InputError("--save-maps needs a folder: add --out")
        cases = None if self.difficult is None else DifficultCases.read(self.difficult)
        return Settings(self.resize, self.target, self.limit, self.batch, cases)  # type: ignore[arg-type]

    def sources(self, data: list[str]) -> Sequence[str | DataSet]:
        if self.apart is None:
            return data
        from maskwise.data import read_data
        from maskwise.evaluation.apart import apart, seen_classes

        seen = seen_classes(self.apart)
        return [part for source in data for part in apart(read_data(source), seen)]

    def metrics(self, names: str, classifier: Classifier, settings: Settings) -> dict[str, Metric]:
        from maskwise.measures import metric, metrics

        everything = sorted(metrics.names(), key=lambda name: FAMILIES.index(metrics.facts(name)["family"]))
        chosen = everything if names.strip() == "all" else [n.strip() for n in names.split(",") if n.strip()]
        if not chosen:
            raise InputError("--metrics names no metric")
        own = _dotted(self.metric_set, "--metric-set", chosen)
        for name in chosen:
            if name.startswith("pointing"):
                own.setdefault(name, {}).setdefault("classes", max(len(classifier.labels), 1000))
            if name == "pointing_difficult" and settings.difficult is not None:
                own[name].setdefault("cases", settings.difficult.name)
        return {name: metric(name, classifier, **own.get(name, {})) for name in chosen}


QUICK = "le,f1,pointing,area"
FAMILIES = ("localisation", "pixels", "faithfulness", "mask statistics")  # in the order of a leaderboard's columns


@speaks_plainly
@ungrouped
def evaluate(
    data: Data,
    method: Annotated[str, typer.Option("--method", help="See `maskwise methods`.")] = "casm",
    masker: MaskerFile = None,
    options: Options = None,
    sess: Enhance = False,
    metrics: Metrics = QUICK,
    out: Kept = None,
    as_json: Json = False,
    *,
    model: Model,
    sharpening: Sharpening,
    measuring: Measuring,
) -> None:
    """One method on data with boxes or masks: values with 95% intervals."""
    from maskwise.evaluation import Contender

    enhance, settings = sharpening.keywords(sess), measuring.settings(out)
    classifier = model.load()
    measures = measuring.metrics(metrics, classifier, settings)
    made = make_explainer(method, classifier, method_options(options, masker), enhance)
    name = method if enhance is None else f"{method} + SESS"
    sources = measuring.sources(data)
    _measure([Contender.of(name, made)], classifier, sources, measures, settings, out, measuring.save_maps, as_json)


@speaks_plainly
@ungrouped
def compare(
    data: Data,
    methods: Annotated[str, typer.Option("--methods", help="Names with commas between (`maskwise methods`).")],
    options: Annotated[
        list[str] | None, typer.Option("--set", help="method.key=value, an option of a method; may be given again.")
    ] = None,
    sess: EnhanceEach = "no",
    metrics: Metrics = "all",
    out: Kept = Path("compared"),
    report: Annotated[bool, typer.Option("--report", help="Also a page with pictures: report.html in --out.")] = False,
    as_json: Json = False,
    *,
    model: Model,
    sharpening: Sharpening,
    measuring: Measuring,
) -> None:
    """Methods side by side: a leaderboard with 95% intervals, differences to the best, and time, as table and page."""
    from maskwise.evaluation import Contender
    from maskwise.explainers import methods as known
    from maskwise.sess import enhanced

    enhance, settings = sharpening.of_each(sess), measuring.settings(out)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    for name in names:
        known.get(name)
    own = _dotted(options, "--set", names)
    classifier = model.load()
    measures = measuring.metrics(metrics, classifier, settings)
    bases = {name: make_explainer(name, classifier, own.get(name, {}), None) for name in names}
    contenders = [
        Contender.of(called, enhanced(bases[name], **(enhance or {})) if inside else bases[name])
        for called, name, inside in each_with_sess(names, sess)
    ]
    _measure(contenders, classifier, measuring.sources(data), measures, settings, out, measuring.save_maps, as_json)
    if report and out is not None and os.environ.get("RANK", "0") == "0":
        from maskwise.report.page_compared import write_compared

        with bar("pictures of the report") as step:
            write_compared(contenders, classifier, data, settings, out, progress=step)


@speaks_plainly
@ungrouped
def panel(
    data: Data,
    methods: Annotated[str, typer.Option("--methods", help="Names with commas between.")] = "casm,casm_baseline",
    classifiers: Annotated[
        str, typer.Option("--classifiers", help="The judges, commas between; NAME=FILE takes weights of your own.")
    ] = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2",
    limit: Limit = None,
    resize: Resized = "squash",
    rule: Annotated[str, typer.Option("--rule", help="Cut maps by rank or value.")] = "rank",
    fill: Annotated[str, typer.Option("--fill", help="What is masked becomes black or the mean colour.")] = "black",
    truth: Annotated[
        str, typer.Option("--truth", help="Right is the label, or the answer on the clean picture.")
    ] = "label",
    batch: BatchSize = 8,
    seed: Annotated[int, typer.Option(help="Of the random masks.")] = 0,
    out: Annotated[Path, typer.Option("--out", help="Folder for panel.png and panel.json.")] = Path("panel"),
    as_json: Json = False,
    *,
    model: Model,
) -> None:
    """Accuracy of many classifiers on masked-in, masked-out and inpainted pictures (CASM, Fig. 3)."""
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import atomic_write, check_writable
    from maskwise.evaluation import Contender
    from maskwise.evaluation.panel import PanelSettings, classifier_panel
    from maskwise.report.panel import panel_figure

    keep_freed_memory()
    check_writable(out)
    if rule not in ("rank", "value") or resize not in ("squash", "crop"):
        raise InputError("--rule is rank or value, and --resize is squash or crop")
    settings = PanelSettings(rule, fill, resize, truth, limit, batch, seed)  # type: ignore[arg-type]
    classifier = model.load()
    judges = {}
    for text in filter(None, (text.strip() for text in classifiers.split(","))):
        name, _, file = text.partition("=")
        judges[name] = replace(model, classifier=name, weights=Path(file) if file else None).load()
    contenders = [
        Contender.of(name, make_explainer(name, classifier, {}, None)) for name in methods.split(",") if name.strip()
    ]
    with bar("pictures") as step:
        found = classifier_panel(contenders, classifier, judges, data, settings, step)
    panel_figure(found, out / "panel.png")
    with atomic_write(out / "panel.json") as temporary:
        temporary.write_text(json.dumps(found.plain(), indent=2) + "\n", encoding="utf-8")
    if as_json:
        typer.echo(json.dumps(found.plain(), indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("mask", *("accuracy " + c for c in ("masked-in", "masked-out", "inpainted")))
    for mask, values in zip(found.masks, found.accuracy.mean(1).tolist(), strict=True):
        table.add_row(mask, *(f"{value:.1f}" for value in values))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"mean over {len(judges)} classifiers; {out / 'panel.png'}", highlight=False, markup=False)


def _dotted(given: list[str] | None, option: str, names: list[str]) -> dict[str, dict[str, Any]]:
    """``name.key=value`` texts by name."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in key_values(given, option).items():
        name, dot, rest = key.partition(".")
        if not dot or name not in names:
            raise InputError(f"{option} takes NAME.key=value, NAME one of {', '.join(names)}, not {key!r}")
        found.setdefault(name, {})[rest] = value
    return found


def _measure(
    contenders: list[Contender],
    classifier: Classifier,
    data: Sequence[str | DataSet],
    measures: dict[str, Metric],
    settings: Settings,
    out: Path | None,
    save_maps: bool,
    as_json: bool,
) -> None:
    """The rows, then tables and pages; under ``torchrun`` every process does its pictures and one writes and speaks."""
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.evaluation import leaderboard
    from maskwise.evaluation import measure as run
    from maskwise.evaluation.processes import launched

    keep_freed_memory()
    with launched() as speaks, bar("pictures x methods") if speaks else nullcontext() as step:
        measured = run(contenders, classifier, data, measures, settings, out, save_maps, step)
        if not speaks:
            return
        board = leaderboard(measured)
    if out is not None:
        from maskwise.report.leaderboard import write_all

        write_all(board, measured, out)
    _tell(board, out, as_json)


def _tell(board: Leaderboard, out: Path | None, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(board.plain(), indent=2))
        return
    from rich.console import Console

    from maskwise.report.leaderboard import rich_tables

    console = Console(width=None if sys.stdout.isatty() else 160)
    groups = list(dict.fromkeys(line.data for line in board.lines))
    # A leaderboard of all metrics on several data sets is long: here the pooled one, the others are on the page.
    for table in rich_tables(board, console.width, groups if out is None else groups[-1:]):
        console.print(table)
    for name, why in board.left_out.items():
        console.print(f"{name} was not measured: {why}", highlight=False, markup=False)
    if out is not None:
        console.print(f"leaderboard.html, .json, .csv and rows.db in {printable(out)}", highlight=False, markup=False)
