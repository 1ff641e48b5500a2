"""``maskwise check roar``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.check.compared import Compared
from maskwise.commands.check.options import (
    TRAINING,
    NetworkOption,
    TestData,
    TestLimit,
    TrainData,
    TrainedSize,
    TrainLimit,
    TrainSet,
    check_first,
    labelled_pair,
    numbers,
)
from maskwise.commands.check.telling import ROAR, tell
from maskwise.commands.groups import Figures, Model, Out, Output, Sess, key_values
from maskwise.commands.registration import command


@command(
    "check roar",
    section="Measure",
    after="same",
    example="maskwise check roar --data shapes:n=200 --method casm --method grad_cam --percent 30,70 --out check-roar",
)
def roar_command(
    data: TrainData,
    test_data: TestData = None,
    limit: TrainLimit = None,
    test_limit: TestLimit = None,
    network: NetworkOption = "small_cnn",
    size: TrainedSize = 64,
    fractions: Annotated[str, typer.Option("--percent", help="Pixels removed, commas between.")] = "10,30,50,70,90",
    repeats: Annotated[
        int, typer.Option("--repeats", min=1, help="Trainings of each, with different seeds.", rich_help_panel=TRAINING)
    ] = 3,
    train_set: TrainSet = None,
    out: Out = Path("check-roar"),
    *,
    compared: Compared,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Is a network trained without the most salient pixels worse than without random ones? (Hooker et al. 2019)"""
    check_first(out)
    figures.check()
    from maskwise.checks import roar
    from maskwise.checks.figures import roar_figure
    from maskwise.checks.small_training import training_settings
    from maskwise.checks.tables import roar_tables
    from maskwise.training.crop_size import crop_size

    shares = numbers(fractions)
    settings = training_settings({**key_values(train_set, "--train-set"), "seed": compared.seed}, augment=True)
    explainers, classifier = compared.explainers(model, sess_options)
    # Explained at the classifier's size, or at the larger one of the training, from which the classifier shrinks it.
    trained_at = crop_size(classifier, size)
    explained_at = max(classifier.size, trained_at)
    train, test = labelled_pair(
        data, test_data, explained_at, limit, test_limit, compared.seed, compared.cache_gib, compared.skip_damaged
    )
    with output.bar("trainings") as step:
        result = roar(
            explainers,
            classifier,
            train,
            test,
            network=network,
            settings=settings,
            fractions=shares,
            repeats=repeats,
            size=trained_at,
            out=out,
            device=model.on(),
            batch=compared.batch,
            cache_gib=compared.cache_gib,
            progress=step,
        )
    result.protocol.update(data=data, test_data=test_data, limit=limit, test_limit=test_limit)
    tell(ROAR, result, roar_tables(result), partial(roar_figure, result), out, figures, output)
