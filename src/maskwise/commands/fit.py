"""``maskwise fit``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands.groups import ungrouped
from maskwise.commands.options import ClassifierName, Json, Out, Weights
from maskwise.commands.train import Precision, TrainOn, Watched, check_device
from maskwise.plain import speaks_plainly
from maskwise.volume import shows_progress

if TYPE_CHECKING:
    from maskwise.training.fitting import Fitted


@speaks_plainly
@ungrouped
def fit(
    pictures: Annotated[list[str], typer.Argument(help="Pictures, folders, zips or zip@split; labels are not needed.")],
    classifier: ClassifierName = "efficientnet_lite0",
    weights: Weights = None,
    out: Out = Path("runs/fit"),
    size: Annotated[
        int | None, typer.Option(min=32, help="Pixels of the training pictures (160, or the classifier's own).")
    ] = None,
    max_steps: Annotated[int, typer.Option(min=1, help="Stop at the latest after so many steps of 32 pictures.")] = 600,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value, overrides the recipe.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted fit in --out.")] = False,
    device: TrainOn = "auto",
    precision: Precision = "auto",
    as_json: Json = False,
    *,
    watched: Watched,
) -> None:
    """A masker for your classifier in a coffee break; stops by itself and says how good it is."""
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import check_writable

    keep_freed_memory()
    check_writable(out)
    check_device(device)
    from maskwise.classifiers import load_classifier
    from maskwise.training.fitting import as_row
    from maskwise.training.fitting import fit as run

    fitted = run(
        pictures,
        load_classifier(classifier, weights=weights),
        out=out,
        size=size,
        max_steps=max_steps,
        seed=seed,
        overrides=settings or [],
        resume=resume,
        device=device,
        precision=precision,  # type: ignore[arg-type]
        progress=shows_progress(),
        callbacks=watched.lines(),
        look_minutes=watched.look_minutes,
        page=watched.page,
        log=watched.log or (),
    )
    if as_json:
        typer.echo(json.dumps(as_row(fitted), indent=2))
    else:
        _print(fitted, classifier)


def _print(fitted: Fitted, classifier: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("on held-out pictures", "masker", "square in the middle", "whole picture")
    masker, centre = fitted.masker, fitted.centre
    rows = [
        ("classified right, masked in (%)", masker.masked_in, centre.masked_in, masker.clean),
        ("classified right, masked out (%)", masker.masked_out, centre.masked_out, None),
        ("objective (nats, lower is better)", masker.objective, centre.objective, None),
        ("mean mask", masker.area, centre.area, 1.0),
    ]
    if masker.localisation_error is not None:
        rows.append(("localisation error (%)", masker.localisation_error, centre.localisation_error or 0.0, None))
    for title, *values in rows:
        table.add_row(title, *("" if value is None else f"{value:.2f}" for value in values))
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table)
    why = (
        "the objective had flattened" if fitted.flattened else "all steps were used and it may still learn: --max-steps"
    )
    trained, held_out = fitted.pictures
    console.print(
        f"{trained} pictures, {held_out} held out; {fitted.steps} steps in {fitted.seconds / 60:.1f} min ({why})"
    )
    console.print(
        f"use it: maskwise explain PICTURE --classifier {classifier} --masker {fitted.path}",
        soft_wrap=True,
        markup=False,
    )
