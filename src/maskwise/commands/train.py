"""``maskwise train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.options import Out
from maskwise.errors import InputError
from maskwise.plain import speaks_plainly


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
