"""``maskwise check leak``."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.check.compared import Compared
from maskwise.commands.check.options import (
    TRAINING,
    TestData,
    TestLimit,
    TrainLimit,
    TrainSet,
    check_first,
)
from maskwise.commands.check.telling import LEAK, tell
from maskwise.commands.groups import Figures, Model, Out, Output, Sess, key_values
from maskwise.commands.groups.measuring import SOURCE
from maskwise.commands.registration import command

LEAKING = Compared(method=["casm"], batch=16)
TrainSources = Annotated[
    list[str],
    typer.Option(
        "--data",
        help=f"{SOURCE} to train the robust judge on, with labels of the classifier's; may be given again.",
        autocompletion=completion.data_sources,
    ),
]


@command(
    "check leak",
    section="Measure",
    after="same",
    example="maskwise check leak --data train/ --test-data test/ --method casm --method distilled --out check-leak",
)
def leak_command(
    data: TrainSources,
    test_data: TestData = None,
    limit: TrainLimit = None,
    test_limit: TestLimit = None,
    fill: Annotated[
        str,
        typer.Option(
            "--fill",
            help="Infiller of what is missing: the one that the masker was trained with.",
            autocompletion=completion.infiller_names,
        ),
    ] = "mean",
    bound: Annotated[float, typer.Option("--bound", min=0, max=1, help="Of the gap, in accuracy from 0 to 1.")] = 0.05,
    judge_size: Annotated[
        int,
        typer.Option(
            "--judge-size", min=8, help="Longer side in pixels of what the robust judge sees.", rich_help_panel=TRAINING
        ),
    ] = 144,
    train_set: TrainSet = None,
    probe: Annotated[
        bool,
        typer.Option("--probe/--no-probe", help="Small networks that see the masks alone.", rich_help_panel=TRAINING),
    ] = True,
    judges: Annotated[
        Path | None,
        typer.Option(
            "--judges",
            help="Folder where robust judges are kept, and read; without it in --out.",
            rich_help_panel=TRAINING,
        ),
    ] = None,
    out: Out = Path("check-leak"),
    *,
    compared: Compared = LEAKING,
    model: Model,
    sess_options: Sess,
    figures: Figures,
    output: Output,
) -> None:
    """Does the shape of the masks give the class away? It trains a judge (after EVAL-X, Jethani et al. 2021)."""
    check_first(out)
    figures.check()
    from maskwise.checks import leak, robust_judge
    from maskwise.checks.leak_figure import leak_figure
    from maskwise.checks.mask_probe import PROBE
    from maskwise.checks.pictures import classified, object_boxes, split
    from maskwise.checks.robust_judge import SETTINGS
    from maskwise.checks.small_training import training_settings
    from maskwise.checks.tables import leak_tables
    from maskwise.data.subjects import say_shared

    settings = training_settings(
        {**key_values(train_set, "--train-set"), "seed": compared.seed}, **SETTINGS.model_dump()
    )
    explainers, classifier = compared.explainers(model, sess_options)
    train = classified(data, classifier, limit, compared.cache_gib, compared.skip_damaged)
    if test_data is None:
        train, test = split(train, seed=compared.seed)
        boxes = None  # of a part that is drawn
    else:
        test = classified([test_data], classifier, test_limit, compared.cache_gib, compared.skip_damaged)
        say_shared(train.subjects, test.subjects)
        boxes = object_boxes([test_data], classifier.size, test_limit, compared.skip_damaged)
    with output.bar("training the robust judge") as step:
        judge = robust_judge(
            classifier, train, settings, fill=fill, size=judge_size, folder=judges or out / "judges", device=model.on(),
            progress=step,
        )  # fmt: skip
    with output.bar("pictures x methods") as step:
        result = leak(
            explainers, classifier, judge.classifier, test, fill=fill, boxes=boxes,
            probe=PROBE.model_copy(update={"seed": compared.seed}) if probe else None, bound=bound,
            seed=compared.seed, batch=compared.batch, progress=step,
        )  # fmt: skip
    result.protocol.update(
        data=data, test_data=test_data, limit=limit, test_limit=test_limit, training=settings.model_dump(),
        training_pictures=len(train), robust_accuracy_on_whole_training_pictures=judge.accuracy,
    )  # fmt: skip
    tell(LEAK, result, leak_tables(result), partial(leak_figure, result), out, figures, output)
