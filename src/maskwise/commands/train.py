"""``maskwise train``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from maskwise.commands.options import Out
from maskwise.errors import InputError
from maskwise.plain import speaks_plainly

TrainOn = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, typer.Option("--precision", help="32-true, bf16-mixed or 16-mixed (autocast).")]


@speaks_plainly
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `maskwise recipes`) or a .yaml file.")],
    data: Annotated[list[str], typer.Option("--data", help="Folder, zip or zip@split; may be given again.")],
    classifier: Annotated[str | None, typer.Option("--classifier", help="Instead of the recipe's.")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="key=value, overrides the recipe; a.b=value reaches deeper.")
    ] = None,
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
    device: TrainOn = "auto",
    precision: Precision = "32-true",
    checkpoint_every: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 100,
    half_encoder: Annotated[bool, typer.Option(help="Store the adapted classifier in float16.")] = False,
) -> None:
    """Trains a masker (or what else RECIPE describes); writes it, recipe.yaml and log.jsonl."""
    from maskwise.allocator import keep_freed_memory
    from maskwise.files import check_writable

    keep_freed_memory()
    check_writable(out)
    check_device(device)
    from maskwise.training import train as run

    named = {"classes": classes, "per_class": per_class, "steps": steps, "seed": seed}
    path = run(
        recipe,
        data,
        classifier=classifier,
        out=out,
        overrides=[*(settings or []), *(f"{key}={value}" for key, value in named.items() if value is not None)],
        resume=resume,
        device=device,
        checkpoint_every=checkpoint_every,
        half_encoder=half_encoder,
        precision=precision,  # type: ignore[arg-type]
        progress=sys.stderr.isatty(),
    )
    typer.echo(str(path))


def check_device(name: str) -> None:
    from torch import backends, cuda

    there = {"auto": True, "cpu": True, "cuda": cuda.is_available(), "mps": backends.mps.is_available()}
    if not there.get(name):
        what = "is not here" if name in there else "is unknown"
        raise InputError(f"device {name!r} {what}: use {' or '.join(d for d, here in there.items() if here)}")
