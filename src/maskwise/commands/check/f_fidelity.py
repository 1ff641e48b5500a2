"""``maskwise check f-fidelity``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.check.again import FOCUSED, PicturesLimit, tell_again
from maskwise.commands.check.compared import Compared
from maskwise.commands.check.options import TRAINING, TrainSet, check_first
from maskwise.commands.check.options import numbers as numbers_of
from maskwise.commands.check.telling import F_FIDELITY
from maskwise.commands.groups import Figures, Model, Out, Output, Sess, key_values
from maskwise.commands.groups.measuring import SOURCE, Data
from maskwise.commands.registration import command


@command(
    "check f-fidelity",
    section="Measure",
    example="maskwise check f-fidelity --data imagenette224.zip@test --train-data imagenette224.zip@train "
    "--limit 16 --train-limit 64 --method grad_cam",
)
def f_fidelity_command(
    data: Data,
    train_data: Annotated[
        list[str],
        typer.Option(
            "--train-data",
            help=f"{SOURCE} to fine-tune the judge on; needs no labels.",
            rich_help_panel=TRAINING,
            autocompletion=completion.data_sources,
        ),
    ],
    limit: PicturesLimit = 64,
    train_limit: Annotated[
        int | None,
        typer.Option("--train-limit", min=2, help="Pictures of each to train on.", rich_help_panel=TRAINING),
    ] = 512,
    fractions: Annotated[
        str, typer.Option("--percent", help="Sizes, in percent of the pixels, commas between.")
    ] = "10,20,30,40,50,60,70,80,90,100",
    draws: Annotated[int, typer.Option("--draws", min=1, help="Random holes of each size.")] = 20,
    train_set: TrainSet = None,
    out: Out = Path("check-f-fidelity"),
    *,
    compared: Compared = FOCUSED,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Does the class go with part of the salient pixels, to a judge used to holes? (Zheng et al. 2024)"""
    check_first(out)
    figures.check()
    percent = numbers_of(fractions)
    from maskwise.checks import f_fidelity
    from maskwise.checks.small_training import training_settings
    from maskwise.checks.used_to_holes import JUDGE_TRAINING

    settings = training_settings(
        {**JUDGE_TRAINING.model_dump(), **key_values(train_set, "--train-set"), "seed": compared.seed}
    )
    explainers, classifier = compared.explainers(model, sess_options)
    images, groups = compared.pictures(data, classifier, limit)
    train, _ = compared.pictures(train_data, classifier, train_limit)
    with output.bar("pictures x methods") as step:
        result = f_fidelity(
            explainers, classifier, images, train, settings=settings, percent=percent, draws=draws,
            groups=groups, seed=compared.seed, batch=compared.batch, progress=step,
        )  # fmt: skip
    result.protocol.update(train_data=train_data, train_limit=train_limit)
    tell_again(F_FIDELITY, result, data, limit, out, figures, output)
