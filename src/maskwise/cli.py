"""The command line. Heavy imports wait until a command needs them, so that ``maskwise --help`` is quick."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.errors import InputError

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier
    from maskwise.explain import Explanation
    from maskwise.methods import Explainer

app = typer.Typer(
    name="maskwise",
    help="Which pixels of an image does a classifier use: this one, or any one?",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")]
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.")]
Weights = Annotated[Path | None, typer.Option("--weights", help="The classifier's weights: .safetensors or .pth.")]
ClassifierName = Annotated[str, typer.Option("--classifier", help="See `maskwise classifiers`.")]
Options = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, an option of the method; may be given again.")
]
Enhance = Annotated[bool, typer.Option("--sess", help="Sharpen the method by SESS: scaling and sliding.")]
Scales = Annotated[int | None, typer.Option("--scales", min=1, help="SESS: how many scales (12).")]
Prefilter = Annotated[
    float | None, typer.Option("--prefilter", help="SESS: share of patches, the worst, that are left out (0).")
]
Stride = Annotated[int | None, typer.Option("--stride", min=1, help="SESS: pixels between windows (one window).")]
Preset = Annotated[
    str | None, typer.Option("--sess-preset", help="SESS: sess_quality, sess_metrics or sess_fast, the paper's.")
]
Budget = Annotated[
    str | None, typer.Option("--budget", help="SESS: forwards a picture (200) or seconds (1.5s), instead of scales.")
]
SessOptions = Annotated[
    list[str] | None, typer.Option("--sess-set", help="SESS: key=value, any other option of it; may be given again.")
]
MaskerFile = Annotated[
    Path | None, typer.Option("--masker", help="A masker.safetensors of your own, for casm and casm_baseline.")
]


def complain(error: Exception) -> None:
    typer.echo(f"maskwise: {' '.join(str(error).split())}", err=True)


def speaks_plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Bad input leaves one line on stderr and exit code 2."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None

    return run


@app.command()
@speaks_plainly
def demo(out: Out = Path("demo"), as_json: Json = False) -> None:
    """The main job on the packaged pictures, offline: figures and a table."""
    from maskwise.images import packaged_pictures

    _explain(packaged_pictures(), "efficientnet_lite0", None, "casm", {}, None, out, as_json, together=True)


@app.command()
@speaks_plainly
def explain(
    pictures: Annotated[list[Path], typer.Argument(help="Picture files, or folders of them.")],
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    method: Annotated[str, typer.Option("--method", help="See `maskwise methods`.")] = "casm",
    masker: MaskerFile = None,
    target: Annotated[str | None, typer.Option("--target", help="Class index, name or WordNet id.")] = None,
    options: Options = None,
    sess: Enhance = False,
    scales: Scales = None,
    prefilter: Prefilter = None,
    stride: Stride = None,
    preset: Preset = None,
    budget: Budget = None,
    sess_options: SessOptions = None,
    panel: Annotated[
        bool, typer.Option("--sess-panel", help="SESS: also a picture of every patch with its map, box and score.")
    ] = False,
    out: Out = Path("explained"),
    as_json: Json = False,
) -> None:
    """Map, box and masked pictures of each PICTURE, in a folder of its own below --out."""
    enhance = _sess(sess or panel, scales, prefilter, stride, preset, budget, sess_options)
    chosen = _options(options, masker)
    _explain(pictures, classifier, weights, method, chosen, target, out, as_json, enhance=enhance, panel=panel)


def _sess(
    wanted: bool,
    scales: int | None,
    prefilter: float | None,
    stride: int | None,
    preset: str | None,
    budget: str | None,
    options: list[str] | None,
) -> dict[str, Any] | None:
    """SESS's keywords, with ``preset`` among them; None where it is not wanted."""
    named = {"scales": scales, "prefilter": prefilter, "stride": stride, "preset": preset, "budget": budget}
    given: dict[str, Any] = {key: value for key, value in named.items() if value is not None}
    given |= _key_values(options, "--sess-set")
    if given and not wanted:
        option = {"preset": "sess-preset"}.get(next(iter(given)), next(iter(given)))
        raise InputError(f"--{option} belongs to SESS: add --sess")
    return given if wanted else None


def _options(given: list[str] | None, masker: Path | None) -> dict[str, Any]:
    """A method's keywords from ``key=value`` texts, values read as YAML."""
    options: dict[str, Any] = {} if masker is None else {"weights": masker}
    return options | _key_values(given, "--set")


def _key_values(given: list[str] | None, option: str) -> dict[str, Any]:
    import yaml

    values = {}
    for text in given or []:
        key, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} takes key=value, not {text!r}")
        try:
            values[key.strip()] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"{option} {text}: the value is not YAML") from None
    return values


def _explain(
    pictures: list[Path],
    classifier_name: str,
    weights: Path | None,
    method: str,
    options: dict[str, Any],
    target: str | None,
    out: Path,
    as_json: bool,
    together: bool = False,
    enhance: dict[str, Any] | None = None,
    panel: bool = False,
) -> None:
    from maskwise.files import check_writable

    check_writable(out)
    from maskwise.classifiers import load_classifier
    from maskwise.explain import check_replaceable, explain_picture, write
    from maskwise.images import find_pictures
    from maskwise.methods import methods
    from maskwise.report.figure import fig2

    paths: list[Path] = []
    failed = False
    for given in pictures:
        try:
            paths += find_pictures([given])
        except InputError as error:
            complain(error)
            failed = True
    if not paths:
        raise typer.Exit(2)
    methods.get(method)  # a wrong name is said before anything is loaded
    classifier = load_classifier(classifier_name, weights)
    explain_it = _explainer(method, classifier, options, enhance)
    if target is not None:
        classifier.labels.resolve(target)
    done: list[Explanation] = []
    taken: set[str] = set()
    for path in _progress(paths, method, explain_it):
        try:
            folder = out / _free_name(path.stem, taken)
            check_replaceable(folder)
            explanation = explain_picture(path, explain_it, classifier, method, target)
            write(explanation, folder, explain_it if panel else None)
            done.append(explanation)
        except InputError as error:
            complain(error)
            failed = True
    if together and done:
        fig2([e.row for e in done], out / "figure.png")
    if as_json:
        typer.echo(json.dumps([e.facts() for e in done], indent=2))
    elif done:
        _table(done, out)
    if failed:
        raise typer.Exit(2)


def _explainer(
    method: str, classifier: Classifier, options: dict[str, Any], enhance: dict[str, Any] | None
) -> Explainer:
    """The method, inside SESS where that is wanted."""
    from maskwise.methods import explainer
    from maskwise.sess import enhanced

    made = explainer(method, classifier, **options)
    return made if enhance is None else enhanced(made, **enhance)


def _free_name(stem: str, taken: set[str]) -> str:
    """Two pictures of one name in two folders get two result folders."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _progress(paths: list[Path], method: str, explain_it: Explainer) -> Iterator[Path]:
    """The pictures one after another, with a bar for them and one for a method's own long work."""
    if not sys.stderr.isatty():
        yield from paths
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bars:
        pictures = bars.add_task("pictures", total=len(paths))
        inner = bars.add_task(method, total=None, visible=False)

        def step(done: int, total: int) -> None:
            bars.update(inner, completed=done, total=total, visible=True)

        explain_it.progress = step
        for path in paths:
            yield path
            bars.advance(pictures)


def _table(done: list[Explanation], out: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("picture", "top class", "p", "box (x0,y0,x1,y1)", "mask area", "seconds")
    for e in done:
        name, p = e.top[0]
        box = ",".join(map(str, e.box))
        table.add_row(Path(e.picture).name, name, f"{p:.2f}", box, f"{e.area:.2f}", f"{e.seconds:.2f}")
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    console.print(f"{done[0].method} on {done[0].classifier}; figures in {out}", highlight=False)


@app.command()
@speaks_plainly
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `maskwise recipes`) or a .yaml file.")],
    data: Annotated[list[str], typer.Option("--data", help="Folder, zip or zip@split; may be given again.")],
    classifier: Annotated[str | None, typer.Option("--classifier", help="Instead of the recipe's.")] = None,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, overrides the recipe.")] = None,
    out: Out = Path("runs/masker"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    device: Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")] = "auto",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    half_encoder: Annotated[bool, typer.Option(help="Store the adapted classifier in float16.")] = False,
) -> None:
    """Trains a masker by RECIPE; writes masker.safetensors, recipe.yaml and log.jsonl."""
    from maskwise.files import check_writable

    check_writable(out)
    _check_device(device)
    from maskwise.training import train as run

    path = run(
        recipe,
        data,
        classifier=classifier,
        out=out,
        overrides=settings or [],
        resume=resume,
        device=device,
        checkpoint_every=checkpoint_every,
        half_encoder=half_encoder,
        progress=sys.stderr.isatty(),
    )
    typer.echo(str(path))


def _check_device(name: str) -> None:
    from torch import backends, cuda

    there = {"auto": True, "cpu": True, "cuda": cuda.is_available(), "mps": backends.mps.is_available()}
    if not there.get(name):
        what = "is not here" if name in there else "is unknown"
        raise InputError(f"device {name!r} {what}: use {' or '.join(d for d, here in there.items() if here)}")


@app.command()
@speaks_plainly
def evaluate(
    data: Annotated[list[str], typer.Option("--data", help="Folder, zip or zip@split with boxes; may be given again.")],
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
    sess_options: SessOptions = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many pictures of each data set.")] = None,
    as_json: Json = False,
) -> None:
    """Localisation error of one method: pictures squashed to the classifier's input size, LE in percent."""
    from maskwise.classifiers import load_classifier
    from maskwise.evaluate import evaluate_localisation

    enhance = _sess(sess, scales, prefilter, stride, preset, budget, sess_options)
    model = load_classifier(classifier, weights)
    explain_it = _explainer(method, model, _options(options, masker), enhance)
    rows = evaluate_localisation(explain_it, model, data, limit)
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("data", "pictures", "LE %", "mean area")
    for row in rows:
        table.add_row(row["data"], str(row["pictures"]), f"{row['LE']:.1f}", f"{row['area']:.2f}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def _list(rows: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table(*(rows[0] if rows else {}))
    for row in rows:
        table.add_row(*(_cell(v) for v in row.values()))
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def _cell(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


@app.command("methods")
@speaks_plainly
def list_methods(as_json: Json = False) -> None:
    """The saliency methods there are."""
    from maskwise.methods import methods

    _list([{"name": name, **facts} for name, facts in methods.items()], as_json)


@app.command("classifiers")
@speaks_plainly
def list_classifiers(as_json: Json = False) -> None:
    """The classifiers there are; torchvision/NAME and timm/NAME take any model of theirs."""
    from maskwise.classifiers import classifiers

    rows = [{"name": name, **facts} for name, facts in classifiers.items()]
    for source in ("torchvision", "timm"):
        rows.append({"name": f"{source}/NAME", "source": source, "input_size": "its own", "offline": False})
    _list(rows, as_json)


@app.command("recipes")
@speaks_plainly
def list_recipes(as_json: Json = False) -> None:
    """The packaged training recipes."""
    from maskwise.training import recipes

    shown = ("title", "paper", "thinning", "objective", "lambda_r", "shared", "epochs", "batch_size")
    rows = []
    for name in recipes.names():
        settings = recipes.load(name).model_dump(mode="json")
        rows.append({"name": name, **(settings if as_json else {k: settings[k] for k in shown})})
    _list(rows, as_json)


def main() -> None:
    """Entry point; a closed pipe (``| head``) ends it quietly."""
    try:
        app()
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


if __name__ == "__main__":
    main()
