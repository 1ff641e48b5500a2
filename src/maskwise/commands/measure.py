"""``maskwise evaluate``, ``maskwise compare`` and ``maskwise panel``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.commands.options import (
    Budget,
    ClassifierName,
    Enhance,
    Json,
    MaskerFile,
    Options,
    Prefilter,
    Preset,
    Scales,
    SessOptions,
    Stride,
    Weights,
    key_values,
    make_explainer,
    method_options,
    sess_options,
)  # fmt: skip
from maskwise.errors import InputError
from maskwise.plain import speaks_plainly

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.evaluation import Contender, Leaderboard, Settings
    from maskwise.metrics import Metric

Data = Annotated[
    list[str],
    typer.Option("--data", help="Folder, zip, zip@split or name:… (`maskwise datasets`); may be given again."),
]
Limit = Annotated[
    int | None, typer.Option(min=1, help="Only so many pictures of each data set, evenly spread over it.")
]
Metrics = Annotated[str, typer.Option("--metrics", help="Names with commas between (`maskwise metrics`), or all.")]
MetricOptions = Annotated[
    list[str] | None, typer.Option("--metric-set", help="metric.key=value, an option of a metric; may be given again.")
]
Resized = Annotated[str, typer.Option("--resize", help="squash to the input size, or crop: shorter side, centre.")]
Explained = Annotated[str, typer.Option("--target", help="The class explained: predicted, or label.")]
BatchSize = Annotated[int, typer.Option("--batch", min=1, help="Pictures at once.")]
Kept = Annotated[
    Path | None, typer.Option("--out", help="Folder for rows and tables; a killed run goes on from the rows there.")
]
SaveMaps = Annotated[bool, typer.Option("--save-maps", help="Keep the maps, too, to be scored again later.")]

QUICK = "le,f1,pointing,area"
FAMILIES = ("localisation", "pixels", "faithfulness", "mask statistics")  # in the order of a leaderboard's columns


@speaks_plainly
def evaluate(
    data: Data,
    method: Annotated[str, typer.Option("--method", help="See `maskwise methods`.")] = "casm",
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    masker: MaskerFile = None,
    options: Options = None,
    sess: Enhance = False,
    scales: Scales = None,
    prefilter: Prefilter = None,
    stride: Stride = None,
    preset: Preset = None,
    budget: Budget = None,
    sess_set: SessOptions = None,
    metrics: Metrics = QUICK,
    metric_set: MetricOptions = None,
    limit: Limit = None,
    resize: Resized = "squash",
    target: Explained = "predicted",
    batch: BatchSize = 8,
    out: Kept = None,
    save_maps: SaveMaps = False,
    as_json: Json = False,
) -> None:
    """One method on data with boxes or masks: values with 95% intervals."""
    from maskwise.evaluation import Contender

    enhance = sess_options(sess, scales, prefilter, stride, preset, budget, sess_set)
    settings = _settings(resize, target, limit, batch, out)
    model = _classifier(classifier, weights)
    measures = _metrics(metrics, metric_set, model)
    made = make_explainer(method, model, method_options(options, masker), enhance)
    name = method if enhance is None else f"{method} + SESS"
    board = _measure([Contender.of(name, made)], model, data, measures, settings, out, save_maps)
    _tell(board, out, as_json)


@speaks_plainly
def compare(
    data: Data,
    methods: Annotated[str, typer.Option("--methods", help="Names with commas between (`maskwise methods`).")],
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    options: Annotated[
        list[str] | None, typer.Option("--set", help="method.key=value, an option of a method; may be given again.")
    ] = None,
    sess: Annotated[str, typer.Option("--sess", help="no, yes (every method inside SESS), or both.")] = "no",
    scales: Scales = None,
    prefilter: Prefilter = None,
    stride: Stride = None,
    preset: Preset = None,
    budget: Budget = None,
    sess_set: SessOptions = None,
    metrics: Metrics = "all",
    metric_set: MetricOptions = None,
    limit: Limit = None,
    resize: Resized = "squash",
    target: Explained = "predicted",
    batch: BatchSize = 8,
    out: Kept = Path("compared"),
    save_maps: SaveMaps = False,
    as_json: Json = False,
) -> None:
    """Methods side by side: a leaderboard with 95% intervals, differences to the best, and time, as table and page."""
    from maskwise.evaluation import Contender
    from maskwise.methods import methods as known

    if sess not in ("no", "yes", "both"):
        raise InputError(f"--sess is no, yes or both, not {sess!r}")
    enhance = sess_options(sess != "no", scales, prefilter, stride, preset, budget, sess_set)
    if enhance is not None and not enhance:
        enhance = {"preset": "sess_metrics"}  # the paper's for measuring
    settings = _settings(resize, target, limit, batch, out)
    names = [name.strip() for name in methods.split(",") if name.strip()]
    for name in names:
        known.get(name)
    own = _dotted(options, "--set", names)
    model = _classifier(classifier, weights)
    measures = _metrics(metrics, metric_set, model)
    contenders: list[Contender] = []
    for name in names:
        base = make_explainer(name, model, own.get(name, {}), None)
        if sess != "yes":
            contenders.append(Contender.of(name, base))
        if enhance is not None:
            from maskwise.sess import enhanced

            contenders.append(Contender.of(f"{name} + SESS", enhanced(base, **enhance)))
    board = _measure(contenders, model, data, measures, settings, out, save_maps)
    _tell(board, out, as_json)


@speaks_plainly
def panel(
    data: Data,
    methods: Annotated[str, typer.Option("--methods", help="Names with commas between.")] = "casm,casm_baseline",
    classifiers: Annotated[
        str, typer.Option("--classifiers", help="The judges, commas between; NAME=FILE takes weights of your own.")
    ] = "efficientnet_lite0,efficientnet_lite1,efficientnet_lite2",
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
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
) -> None:
    """Accuracy of many classifiers on masked-in, masked-out and inpainted pictures (CASM, Fig. 3)."""
    from maskwise.evaluation import Contender
    from maskwise.evaluation.panel import PanelSettings, classifier_panel
    from maskwise.files import atomic_write, check_writable
    from maskwise.report.panel import panel_figure

    check_writable(out)
    if rule not in ("rank", "value") or resize not in ("squash", "crop"):
        raise InputError("--rule is rank or value, and --resize is squash or crop")
    settings = PanelSettings(rule, fill, resize, truth, limit, batch, seed)  # type: ignore[arg-type]
    model = _classifier(classifier, weights)
    judges = {}
    for text in filter(None, (text.strip() for text in classifiers.split(","))):
        name, _, file = text.partition("=")
        judges[name] = _classifier(name, Path(file) if file else None)
    contenders = [
        Contender.of(name, make_explainer(name, model, {}, None)) for name in methods.split(",") if name.strip()
    ]
    with _bar("pictures") as step:
        found = classifier_panel(contenders, model, judges, data, settings, step)
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
    console.print(f"mean over {len(judges)} classifiers; {out / 'panel.png'}", highlight=False)


def _classifier(name: str, weights: Path | None) -> Classifier:
    from maskwise.classifiers import load_classifier

    return load_classifier(name, weights)


def _settings(resize: str, target: str, limit: int | None, batch: int, out: Path | None) -> Settings:
    from maskwise.evaluation import Settings
    from maskwise.files import check_writable

    if out is not None:
        check_writable(out)
    return Settings(resize, target, limit, batch)  # type: ignore[arg-type]


def _metrics(names: str, options: list[str] | None, classifier: Classifier) -> dict[str, Metric]:
    from maskwise.metrics import metric, metrics

    everything = sorted(metrics.names(), key=lambda name: FAMILIES.index(metrics.facts(name)["family"]))
    chosen = everything if names.strip() == "all" else [n.strip() for n in names.split(",") if n.strip()]
    if not chosen:
        raise InputError("--metrics names no metric")
    own = _dotted(options, "--metric-set", chosen)
    for name in chosen:
        if name.startswith("pointing"):
            own.setdefault(name, {}).setdefault("classes", max(len(classifier.labels), 1000))
    return {name: metric(name, classifier, **own.get(name, {})) for name in chosen}


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
    data: list[str],
    measures: dict[str, Metric],
    settings: Settings,
    out: Path | None,
    save_maps: bool,
) -> Leaderboard:
    from maskwise.evaluation import evaluate as run
    from maskwise.evaluation import leaderboard

    if save_maps and out is None:
        raise InputError("--save-maps needs a folder: add --out")
    with _bar("pictures x methods") as step:
        measured = run(contenders, classifier, data, measures, settings, out, save_maps, step)
    board = leaderboard(measured)
    if out is not None:
        from maskwise.report.leaderboard import write_all

        write_all(board, measured, out)
    return board


@contextmanager
def _bar(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr where somebody looks at it."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


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
        console.print(f"{name} was not measured: {why}", highlight=False)
    if out is not None:
        console.print(f"leaderboard.html, .json, .csv and rows.db in {out}", highlight=False)
