"""``maskwise fit``."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Model, Out, Output
from maskwise.commands.groups.measuring import SkipDamaged
from maskwise.commands.groups.training import AUTO, RecipeSettings, Watched
from maskwise.commands.registration import command
from maskwise.core.text import how_many

if TYPE_CHECKING:
    from rich.table import Table

    from maskwise.training.fitting import Fitted


@command(
    "fit",
    section="Train",
    after="resume",
    example="maskwise fit pictures/ --classifier torchvision/resnet50 --out runs/fit",
)
def fit_command(
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders, zips or zip@split; labels are not needed.")],
    size: Annotated[
        int | None,
        typer.Option("--size", min=8, help="Longer side of training pictures (160, or the classifier's own)."),
    ] = None,
    teacher: Annotated[
        str,
        typer.Option(
            "--teacher",
            help="Method whose maps the masker learns to give in one forward; auto takes the best on held-out "
            "pictures, or banzhaf for a black box; none lets masked pictures teach, which takes many times as long, "
            "and is auto for sigmoids.",
            autocompletion=completion.teacher_names,
        ),
    ] = "auto",
    max_steps: Annotated[
        int | None,
        typer.Option("--max-steps", min=1, help="Of 32 pictures (300; with --teacher none 600, or fewer)."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of all draws.")] = 0,
    overrides: RecipeSettings = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit in --out.")] = False,
    skip_damaged: SkipDamaged = False,
    out: Out = Path("runs/fit"),
    *,
    model: Model = AUTO,
    watched: Watched,
    output: Output,
) -> None:
    """A masker for your classifier in a coffee break; says how good it is."""
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import check_writable

    keep_freed_memory()
    check_writable(out)
    model.on()  # a device that is not here is said before anything is read
    from maskwise.training.fitting import as_row, fit

    fitted = fit(
        pictures,
        replace(model, device="cpu").load(),  # the training brings it to its device
        out=out,
        teacher=teacher,
        size=size,
        max_steps=max_steps,
        seed=seed,
        overrides=overrides or [],
        resume=resume,
        device=model.device,
        precision=model.precision,  # type: ignore[arg-type]
        progress=output.shows_progress,
        callbacks=watched.lines(output),
        look_minutes=watched.look_minutes,
        page=watched.page,
        log=watched.log or (),
        skip_damaged=skip_damaged,
    )
    output.tell(as_row(fitted), _table(fitted), lines=_lines(fitted, model))


def _table(fitted: Fitted) -> Table:
    from rich.table import Table

    table = Table("on held-out pictures", "masker", "square in the middle", "whole picture")
    masker, centre = fitted.masker, fitted.centre
    rows = [
        ("classified right, masked in (%)", masker.masked_in, centre.masked_in, masker.clean),
        ("class still seen, masked out (%)", masker.masked_out, centre.masked_out, None),
        ("objective (nats, lower is better)", masker.objective, centre.objective, None),
        ("mean mask", masker.area, centre.area, 1.0),
    ]
    if masker.localisation_error is not None:
        rows.append(("localisation error (%)", masker.localisation_error, centre.localisation_error or 0.0, None))
    for title, *values in rows:
        table.add_row(title, *("" if value is None else f"{value:.2f}" for value in values))
    return table


def _lines(fitted: Fitted, model: Model) -> tuple[str, ...]:
    """Who taught it, how the training ended, and how its masker is used."""
    trained, held_out = fitted.pictures
    done = (
        f"{how_many(trained, 'picture')}, {held_out:,} held out; "
        f"{how_many(fitted.steps, 'step')} in {fitted.seconds / 60:.1f} min"
    )
    use = f"use it: maskwise explain PICTURE {' '.join(_said(model))} --masker {fitted.path}"
    if fitted.masker.objective >= fitted.centre.objective:
        done += "; it is no better than the square in the middle: give it more pictures, or more steps (--max-steps)"
    elif 2 * fitted.masker.masked_in < fitted.masker.clean:
        done += (
            "; masked in, the classifier is right on less than half of what it is right on whole: these masks leave "
            "out what it uses (--max-steps, more pictures)"
        )
    if fitted.teacher is None:
        flattened = "the objective had flattened"
        why = flattened if fitted.flattened else "all steps were used and it may still learn: --max-steps"
        return f"{done} ({why})", use
    others = ", ".join(f"{name} {value:.2f}" for name, value in fitted.teachers.items())
    told = f"taught by {fitted.teacher} (--teacher); objective of equally large masks, lower is better: {others}"
    return told, done, use


def _said(model: Model) -> list[str]:
    """The options that name the classifier again; a masker is of one with its normalisation and activation."""
    values = {
        "--classifier": model.classifier, "--weights": model.weights, "--labels": model.labels, "--mean": model.mean,
        "--std": model.std, "--activation": model.activation, "--output": model.output_of,
    }  # fmt: skip
    said = [f"{option} {shlex.quote(str(value))}" for option, value in values.items() if value is not None]
    if model.texts:
        said.append(f"--texts {shlex.join(model.texts)}")
    said += [f"--template {shlex.quote(template)}" for template in model.templates or ()]
    return said if model.temperature is None else [*said, f"--temperature {model.temperature:g}"]
