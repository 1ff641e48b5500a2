"""``maskwise check mprt``, ``drt`` and ``roar``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands.check_options import (
    Batch,
    CacheGib,
    Limit,
    Masks,
    Method,
    Methods,
    Network,
    Seed,
    Size,
    Source,
    TestData,
    TestLimit,
    TrainData,
    TrainSet,
    Undefined,
    check_first,
    classifier_on,
    labelled_pair,
    makers_with_sess,
    map_maker,
    numbers,
    own_options,
    with_masker,
)
from maskwise.commands.groups import ungrouped
from maskwise.commands.options import (
    ClassifierName,
    Device,
    Enhance,
    EnhanceEach,
    Json,
    MaskerFile,
    Options,
    Out,
    Sharpening,
    Weights,
    bar,
    device_of,
    each_with_sess,
    key_values,
    make_explainer,
    method_options,
)
from maskwise.core.allocator import keep_freed_memory
from maskwise.plain import speaks_plainly
from maskwise.volume import with_volume

if TYPE_CHECKING:
    from rich.table import Table

    from maskwise.checks.results import DrtResult, MprtResult, RoarResult

check_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@check_app.command()
@with_volume
@speaks_plainly
@ungrouped
def mprt(
    data: Annotated[list[str], typer.Option("--data", help=f"{Source}; may be given again.")],
    method: Method = "casm",
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    masker: MaskerFile = None,
    options: Options = None,
    sess: Enhance = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Pictures of each data set, evenly spread.")] = 128,
    mode: Annotated[str, typer.Option(help="cascading, independent, or both.")] = "both",
    init: Annotated[str, typer.Option(help="New weights by each layer's own rule, or as the released code.")] = "own",
    depth: Annotated[
        int, typer.Option(min=0, help="Layers share so many parts of their modules' names; 0: each module is one.")
    ] = 2,
    masks: Masks = False,
    undefined: Undefined = "zero",
    batch: Batch = 32,
    cache_gib: CacheGib = 4.0,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = Path("check-mprt"),
    as_json: Json = False,
    *,
    sharpening: Sharpening,
) -> None:
    """Do maps change when the network's layers become random? (Adebayo et al. 2018)"""
    check_first(out, undefined)
    keep_freed_memory()
    modes = ["cascading", "independent"] if mode == "both" else [mode]
    enhance = sharpening.keywords(sess)
    from maskwise.checks import mprt as run
    from maskwise.checks.figures import mprt_figure
    from maskwise.checks.pictures import pictures
    from maskwise.checks.tables import mprt_table

    model = classifier_on(classifier, weights, device)
    explain_it = make_explainer(method, model, method_options(options, masker), enhance)
    images = pictures(data, model.input_size, limit, cache_gib)
    with bar("random layers") as step:
        result = run(
            explain_it,
            model,
            images,
            modes=modes,  # type: ignore[arg-type]
            init=init,
            depth=depth or None,
            before_sigmoid=False if masks else None,
            undefined=undefined,  # type: ignore[arg-type]
            seed=seed,
            batch=batch,
            progress=step,
        )
    result.protocol.update(data=data, limit=limit)
    mprt_figure(result, out / "plot.png")
    _tell(result, [mprt_table(result)], out, as_json)


@check_app.command()
@with_volume
@speaks_plainly
@ungrouped
def drt(
    data: TrainData,
    test_data: TestData = None,
    method: Methods = ["grad_cam"],  # noqa: B006, typer copies it
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    options: Options = None,
    sess: EnhanceEach = "no",
    limit: Limit = None,
    test_limit: TestLimit = None,
    network: Network = "small_cnn",
    size: Size = 64,
    labels: Annotated[str, typer.Option(help="Random labels: shuffled, or uniform (released code).")] = "shuffled",
    again: Annotated[
        bool, typer.Option("--again/--no-again", help="A third training, on the true labels with another seed.")
    ] = True,
    train_set: TrainSet = None,
    recipe: Annotated[str | None, typer.Option(help="A masker's recipe; without it the one of its name.")] = None,
    recipe_set: Annotated[
        list[str] | None, typer.Option("--recipe-set", help="key=value, overrides the recipe; may be given again.")
    ] = None,
    masks: Masks = False,
    undefined: Undefined = "zero",
    batch: Batch = 32,
    cache_gib: CacheGib = 4.0,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = Path("check-drt"),
    as_json: Json = False,
    *,
    sharpening: Sharpening,
) -> None:
    """Do maps of a network that learned random labels differ? Trains it, and maskers on it (Adebayo et al. 2018)."""
    check_first(out, undefined)
    keep_freed_memory()
    from maskwise.checks import drt as run
    from maskwise.checks.figures import drt_figure
    from maskwise.checks.networks import PRETRAINED
    from maskwise.checks.small_training import training_settings
    from maskwise.checks.tables import drt_tables

    enhance = sharpening.of_each(sess)
    settings = training_settings({**key_values(train_set, "--train-set"), "seed": seed})
    makers = {
        name: map_maker(name, own_options(options, method), recipe, recipe_set or [], device)
        for name in dict.fromkeys(method)
    }
    pretrained = classifier_on(classifier, weights, device) if network == PRETRAINED else None
    train, test = labelled_pair(data, test_data, size, limit, test_limit, seed, cache_gib)
    with bar("training") as step:
        result = run(
            makers_with_sess(makers, sess, enhance),
            train,
            test,
            network=network,
            pretrained=pretrained,
            labels=labels,  # type: ignore[arg-type]
            settings=settings,
            again=again,
            before_sigmoid=False if masks else None,
            undefined=undefined,  # type: ignore[arg-type]
            out=out,
            device=device_of(device),
            batch=batch,
            progress=step,
        )
    result.protocol.update(data=data, test_data=test_data, limit=limit, test_limit=test_limit)
    drt_figure(result, out / "plot.png")
    _tell(result, drt_tables(result), out, as_json)


@check_app.command()
@with_volume
@speaks_plainly
@ungrouped
def roar(
    data: TrainData,
    test_data: TestData = None,
    method: Methods = ["casm", "grad_cam"],  # noqa: B006, typer copies it
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    masker: MaskerFile = None,
    options: Options = None,
    sess: EnhanceEach = "no",
    limit: Limit = None,
    test_limit: TestLimit = None,
    network: Network = "small_cnn",
    size: Size = 64,
    fractions: Annotated[str, typer.Option("--percent", help="Pixels removed, commas between.")] = "10,30,50,70,90",
    repeats: Annotated[int, typer.Option(min=1, help="Trainings of each, with different seeds.")] = 3,
    train_set: TrainSet = None,
    batch: Batch = 32,
    cache_gib: CacheGib = 4.0,
    seed: Seed = 0,
    device: Device = "auto",
    out: Out = Path("check-roar"),
    as_json: Json = False,
    *,
    sharpening: Sharpening,
) -> None:
    """Is a network trained without the most salient pixels worse than without random ones? (Hooker et al. 2019)"""
    check_first(out)
    keep_freed_memory()
    from maskwise.checks import roar as run
    from maskwise.checks.figures import roar_figure
    from maskwise.checks.small_training import training_settings
    from maskwise.checks.tables import roar_tables

    shares, enhance = numbers(fractions), sharpening.of_each(sess)
    settings = training_settings({**key_values(train_set, "--train-set"), "seed": seed}, augment=True)
    own = own_options(options, method)
    model = classifier_on(classifier, weights, device)
    explainers = {
        called: make_explainer(name, model, with_masker(own, name, masker), enhance if inside else None)
        for called, name, inside in each_with_sess(method, sess)
    }
    # Explained at the classifier's size, or at the larger one of the training, from which the classifier shrinks it.
    train, test = labelled_pair(data, test_data, max(model.input_size, size), limit, test_limit, seed, cache_gib)
    with bar("trainings") as step:
        result = run(
            explainers,
            model,
            train,
            test,
            network=network,
            settings=settings,
            fractions=shares,
            repeats=repeats,
            size=size,
            out=out,
            device=device_of(device),
            batch=batch,
            cache_gib=cache_gib,
            progress=step,
        )
    result.protocol.update(data=data, test_data=test_data, limit=limit, test_limit=test_limit)
    roar_figure(result, out / "plot.png")
    _tell(result, roar_tables(result), out, as_json)


def _tell(result: MprtResult | DrtResult | RoarResult, tables: Sequence[Table], out: Path, as_json: bool) -> None:
    """``result.json``, and the table or the same JSON on stdout."""
    from maskwise.core.files import atomic_write

    text = json.dumps(result.plain(), indent=2, default=str)
    with atomic_write(out / "result.json") as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    if as_json:
        typer.echo(text)
        return
    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 140)
    for table in tables:
        console.print(table)
    console.print(f"plot.png and result.json in {out}", highlight=False, markup=False)
