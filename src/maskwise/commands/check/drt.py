"""``maskwise check drt``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.check.options import (
    TRAINING,
    BatchOption,
    CacheGib,
    Masks,
    Methods,
    NetworkOption,
    Seed,
    TestData,
    TestLimit,
    TrainData,
    TrainedSize,
    TrainLimit,
    TrainSet,
    UndefinedOption,
    check_first,
    labelled_pair,
    makers_with_sess,
    map_maker,
    own_options,
)
from maskwise.commands.check.telling import DRT, tell
from maskwise.commands.groups import Figures, Model, Out, Output, Sess, key_values
from maskwise.commands.groups.measuring import SkipDamaged
from maskwise.commands.groups.method import MethodOptions
from maskwise.commands.groups.sess import EnhanceEach
from maskwise.commands.registration import command


@command(
    "check drt",
    section="Measure",
    after="same",
    example="maskwise check drt --data shapes:n=200 --method grad_cam --method gradient --out check-drt",
)
def drt_command(
    data: TrainData,
    test_data: TestData = None,
    method: Methods = ["grad_cam"],  # noqa: B006, typer copies it
    options: MethodOptions = None,
    sess: EnhanceEach = "no",
    limit: TrainLimit = None,
    test_limit: TestLimit = None,
    network: NetworkOption = "small_cnn",
    size: TrainedSize = 64,
    random_labels: Annotated[
        str, typer.Option("--random-labels", help="shuffled, or uniform (released code).", rich_help_panel=TRAINING)
    ] = "shuffled",
    again: Annotated[
        bool,
        typer.Option(
            "--again/--no-again",
            help="A third training, on the true labels with another seed.",
            rich_help_panel=TRAINING,
        ),
    ] = True,
    train_set: TrainSet = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            help="A masker's recipe; without it the one of its name.",
            rich_help_panel=TRAINING,
            autocompletion=completion.recipe_names,
        ),
    ] = None,
    recipe_set: Annotated[
        list[str] | None,
        typer.Option(
            "--recipe-set", help="key=value, overrides the recipe; may be given again.", rich_help_panel=TRAINING
        ),
    ] = None,
    masks: Masks = False,
    undefined: UndefinedOption = "zero",
    batch: BatchOption = 32,
    cache_gib: CacheGib = 4.0,
    skip_damaged: SkipDamaged = False,
    seed: Seed = 0,
    out: Out = Path("check-drt"),
    *,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Do maps of a network that learned random labels differ? Trains it, and maskers on it (Adebayo et al. 2018)."""
    from maskwise.core.allocator import keep_freed_memory

    check_first(out, undefined)
    figures.check()
    keep_freed_memory()
    from maskwise.checks import drt
    from maskwise.checks.figures import drt_figure
    from maskwise.checks.networks import PRETRAINED
    from maskwise.checks.small_training import training_settings
    from maskwise.checks.tables import drt_tables
    from maskwise.training.crop_size import crop_size

    enhance, device = sess_options.of_each(sess), model.on()
    settings = training_settings({**key_values(train_set, "--train-set"), "seed": seed})
    own = own_options(options, method)
    makers = {
        name: map_maker(name, own, recipe, recipe_set or [], model.device, model.precision, output.shows_progress)
        for name in dict.fromkeys(method)
    }
    pretrained = model.load() if network == PRETRAINED else None
    # Networks from scratch are the ones explained, and take squares.
    shape = size if pretrained is None else crop_size(pretrained, size)
    train, test = labelled_pair(data, test_data, shape, limit, test_limit, seed, cache_gib, skip_damaged)
    with output.bar("training") as step:
        result = drt(
            makers_with_sess(makers, sess, enhance),
            train,
            test,
            network=network,
            pretrained=pretrained,
            labels=random_labels,  # type: ignore[arg-type]
            settings=settings,
            again=again,
            before_sigmoid=False if masks else None,
            undefined=undefined,  # type: ignore[arg-type]
            out=out,
            device=device,
            batch=batch,
            progress=step,
        )
    result.protocol.update(data=data, test_data=test_data, limit=limit, test_limit=test_limit)
    tell(DRT, result, drt_tables(result), partial(drt_figure, result), out, figures, output)
