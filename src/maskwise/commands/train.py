"""``maskwise train``."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands import completion
from maskwise.commands.groups import Model, Out, Output
from maskwise.commands.groups.measuring import SkipDamaged
from maskwise.commands.groups.training import AUTO, RecipeSettings, Spread, Watched
from maskwise.commands.registration import command
from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier


@command(
    "train",
    section="Train",
    after="resume",
    example="maskwise train casm_lite0 --data imagenet:ILSVRC2012@train --out runs/casm\n"
    "maskwise train dabkowski_gal_lite0 --data pictures/ --set epochs=2 --resume",
)
def train_command(
    recipe: Annotated[
        str,
        typer.Argument(
            help="A recipe's name (see `maskwise recipes`) or a .yaml file.", autocompletion=completion.recipe_names
        ),
    ],
    data: Annotated[
        list[str],
        typer.Option(
            "--data", help="Folder, zip or zip@split; may be given again.", autocompletion=completion.data_sources
        ),
    ],
    classifier: Annotated[
        str | None,
        typer.Option(
            "--classifier",
            help="Instead of the recipe's; published recipes name the papers' ResNet-50.",
            rich_help_panel="Classifier",
            autocompletion=completion.classifier_names,
        ),
    ] = None,
    overrides: RecipeSettings = None,
    classes: Annotated[int | None, typer.Option("--classes", min=1, help="Few-shot: only so many classes.")] = None,
    per_class: Annotated[
        int | None, typer.Option("--per-class", min=1, help="Few-shot: only so many pictures of each class.")
    ] = None,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="So many steps, whatever the number of pictures.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of all draws, the subset's too.")] = None,
    out: Out = Path("runs/masker"),
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint in --out.")] = False,
    checkpoint_every: Annotated[
        int | None,
        typer.Option("--checkpoint-every", min=1, help="Steps between checkpoints, beside those by time."),
    ] = None,
    checkpoint_minutes: Annotated[
        float, typer.Option("--checkpoint-minutes", min=0, help="Between checkpoints.")
    ] = 5.0,
    on_nan: Annotated[
        str, typer.Option("--on-nan", help="stop, with the step's pictures saved; or skip the step and count it.")
    ] = "stop",
    nan_limit: Annotated[
        int, typer.Option("--nan-limit", min=1, help="Skipped steps in a row that stop the training.")
    ] = 10,
    half_encoder: Annotated[
        bool, typer.Option("--half-encoder/--no-half-encoder", help="Store the adapted classifier in float16.")
    ] = False,
    held_out: Annotated[
        list[str] | None,
        typer.Option("--held-out", help="Source of the contact sheets' pictures; may be given again."),
    ] = None,
    skip_damaged: SkipDamaged = False,
    *,
    model: Model = AUTO,
    spread: Spread,
    watched: Watched,
    output: Output,
) -> None:
    """Trains a masker (or what else RECIPE describes); writes it, recipe.yaml and log.jsonl.

    Several processes share each batch of the recipe: with --devices, under torchrun, or in a job of Slurm.
    """
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import check_writable

    keep_freed_memory()
    check_writable(out)
    model.on()  # a device that is not here is said before anything is read
    from maskwise.training import train

    second = int(os.environ.get("LOCAL_RANK", 0)) > 0
    named = {"classes": classes, "per_class": per_class, "steps": steps, "seed": seed}
    settings = [*(overrides or []), *(f"{key}={value}" for key, value in named.items() if value is not None)]
    try:
        path = train(
            recipe,
            data,
            classifier=_described(model, classifier, recipe, settings) if model.described() else classifier,
            weights=None if model.described() else model.weights,
            out=out,
            overrides=settings,
            resume=resume,
            device=model.device,
            checkpoint_every=checkpoint_every,
            checkpoint_minutes=checkpoint_minutes,
            half_encoder=half_encoder,
            precision=model.precision,  # type: ignore[arg-type]
            on_nan=on_nan,  # type: ignore[arg-type]
            nan_limit=nan_limit,
            devices=spread.devices,
            nodes=spread.nodes,
            accumulate=spread.accumulate,
            compiler=spread.compiler_name if spread.compiler else None,
            workers=spread.workers,
            cache_gib=spread.cache_gib,
            progress=output.shows_progress,
            callbacks=watched.lines(output),
            look_minutes=watched.look_minutes,
            page=watched.page,
            log=watched.log or (),
            held_out=held_out,
            skip_damaged=skip_damaged,
        )
    except InputError:
        if second:  # the first process of this machine says the same
            raise typer.Exit(2) from None
        raise
    if not second and int(os.environ.get("NODE_RANK") or os.environ.get("GROUP_RANK") or 0) == 0:
        output.tell({"path": str(path)}, lines=(str(path),))


def _described(model: Model, classifier: str | None, recipe: str, settings: list[str]) -> Classifier:
    """The classifier with a normalisation, size or labels of its own; the training brings it to its device."""
    from maskwise.training import recipes

    return replace(model, device="cpu").load(classifier or recipes.load(recipe, settings).classifier)
