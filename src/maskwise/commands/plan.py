"""``maskwise plan``: what a training or an evaluation would cost."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Imports, Model, Output, key_values
from maskwise.commands.registration import command
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from maskwise.planning import EvaluationPlan, TrainingPlan

UNITS = ("", "K", "M", "G", "T", "P", "E", "Z", "Y")


@command(
    "plan",
    section="Train",
    example="maskwise plan casm --images 1281167 --gpus 8\nmaskwise plan --evaluate rise --images 50000",
)
def plan_command(
    recipe: Annotated[
        str | None,
        typer.Argument(help="A recipe's name or file; none with --evaluate.", autocompletion=completion.recipe_names),
    ] = None,
    evaluate: Annotated[
        str | None,
        typer.Option(
            "--evaluate", help="Plan an evaluation of this method instead.", autocompletion=completion.method_names
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=1, help="Pictures; ImageNet's training set otherwise.")
    ] = 1_281_167,
    gpus: Annotated[int, typer.Option("--gpus", min=1, help="Devices that share each batch.")] = 1,
    epochs: Annotated[int | None, typer.Option("--epochs", min=1, help="Instead of the recipe's.")] = None,
    classifier: Annotated[
        str | None,
        typer.Option(
            "--classifier",
            help="Instead of the recipe's; its weights are not fetched.",
            autocompletion=completion.classifier_names,
        ),
    ] = None,
    mean: Annotated[str | None, typer.Option("--mean", help="Of its normalisation: a value a channel, in [0,1].")] = (
        None
    ),
    std: Annotated[str | None, typer.Option("--std", help="Of its normalisation, likewise.")] = None,
    size: Annotated[str | None, typer.Option("--size", help="Of the pictures it takes: a side in pixels, or HxW.")] = (
        None
    ),
    activation: Annotated[
        str | None,
        typer.Option("--activation", help="softmax, sigmoid, or none: what makes probabilities of its outputs."),
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, of the recipe or the method; may be given again.")
    ] = None,
    accumulate: Annotated[int, typer.Option("--accumulate", min=1, help="Parts of a device's share of a batch.")] = 1,
    metric_forwards: Annotated[
        int, typer.Option("--metric-forwards", min=0, help="With --evaluate: forwards a picture that the metrics need.")
    ] = 0,
    measure: Annotated[bool, typer.Option("--measure", help="Time it here, too: throughput, and hours.")] = False,
    peak: Annotated[
        float | None,
        typer.Option("--peak", min=1e-3, help="With --measure: TFLOP/s that the device's maker names, for the MFU."),
    ] = None,
    *,
    imports: Imports,
    output: Output,
) -> None:
    """What a training (or, with --evaluate, an evaluation) would cost: work, time, memory, disk.

    FLOPs and bytes are counted on a few pictures of noise. Throughput and hours are those of this machine, timed with
    --measure; nothing is said of a machine that is not here.
    """
    from maskwise.planning import plan_evaluation, plan_training

    if (recipe is None) == (evaluate is None):
        raise InputError("name a recipe, or a method with --evaluate: one of the two")
    if peak is not None and (evaluate is not None or not measure):
        raise InputError("`peak` is for the MFU of a training that is timed: name a recipe, and add --measure")
    said = Model(mean=mean, std=std, size=size, activation=activation).described()
    made: TrainingPlan | EvaluationPlan
    if recipe is not None:
        made = plan_training(
            recipe, images, gpus, epochs=epochs, classifier=classifier, said=said, overrides=settings or [],
            accumulate=accumulate, measure=3 if measure else 0,
        )  # fmt: skip
        rows = training_rows(made, peak)
    else:
        made = plan_evaluation(
            str(evaluate), images, classifier=classifier or "efficientnet_lite0", said=said,
            options=key_values(settings, "--set"), metric_forwards=metric_forwards, measure=measure,
        )  # fmt: skip
        rows = evaluation_rows(made)
    output.tell(asdict(made), facts_table(rows))


def training_rows(made: TrainingPlan, peak: float | None = None) -> list[tuple[str, str]]:
    memory = made.state + made.pool + made.saved
    found, timed = made.measured, list[tuple[str, str]]()
    if found is not None:
        step = f"{found.pictures} pictures in {found.seconds:.3f} s, {si(found.flops_per_second)}FLOP/s"
        share = "" if not peak else f", an MFU of {100 * found.mfu(1e12 * peak):.1f}%"
        read = f"{found.readers} thread(s) read {found.read_per_second:.0f} pictures a second each"
        timed = [("throughput here", f"{step}{share}; {read}"), ("hours here", f"{made.hours:,.1f}, on one device")]
    return [
        ("training", f"{made.recipe}, {made.classifier} at {made.input_size} pixels"),
        ("steps", f"{made.steps:,} of {made.batch} pictures, {made.steps_per_epoch:,} an epoch"),
        ("a forward of a picture", f"{si(made.forward_flops)}FLOP"),
        ("a picture of a batch", f"{made.forwards:.2f} forwards; all else is {made.backward_share:.2f} times one"),
        ("a step", f"{si(made.step_flops)}FLOP"),
        ("all steps", f"{si(made.total_flops)}FLOP"),
        *([("labels, once", f"{si(made.label_flops)}FLOP, of the teacher")] if made.label_flops else []),
        ("memory, each device", f"{si(memory)}B at most: what learns, with optimisers, {si(made.state)}B, "
                                f"pool {si(made.pool)}B, activations in float32 {si(made.saved)}B"),
        ("reduced each step", f"{si(made.gradients)}B of gradients; {made.batch_norms} batch norms of the "
                              "classifier synchronised"),
        ("disk", f"checkpoint {si(made.checkpoint)}B (twice that while it is written), "
                 f"result {si(made.masker)}B"),
        ("pictures read", f"{si(made.read_epoch)}B an epoch, at 110 KB each"),
        *timed,
    ]  # fmt: skip


def evaluation_rows(made: EvaluationPlan) -> list[tuple[str, str]]:
    return [
        ("evaluation", f"{made.method}, {made.classifier}, {made.images:,} pictures"),
        ("a picture", f"{made.forwards:,.0f} questions to a black box, whose work nobody sees"
                      if made.picture_flops is None
                      else f"as much work as {made.forwards:.1f} forwards, {si(made.picture_flops)}FLOP"),
        ("rows", f"{si(made.rows)}B in rows.db, {made.row:.0f} bytes a picture and metric"),
        ("memory for names", f"{si(made.names)}B: which pictures are done"),
        ("maps, if kept", f"{si(made.maps)}B before compression, one file a picture"),
        ("pictures read", f"{si(made.read)}B, at 110 KB each"),
        *([] if made.seconds is None else [
            ("throughput here", f"{made.seconds:.3f} s a picture; a thread reads {made.read_per_second:.0f} a second"),
            ("hours here", f"{made.hours:,.1f}, on one device"),
        ]),
    ]  # fmt: skip


def facts_table(rows: list[tuple[str, str]]) -> Table:
    from rich.table import Table

    facts = Table.grid(padding=(0, 2))
    for name, text in rows:
        facts.add_row(name, text)
    return facts


def si(number: float) -> str:
    """With three digits and the letter of its thousands.

    Example:
        >>> si(8_178_000_000), si(12)
        ('8.18 G', '12 ')
    """
    power = 0
    while number >= 999.5 and power < len(UNITS) - 1:
        number, power = number / 1000, power + 1
    return f"{number:.3g} {UNITS[power]}"
