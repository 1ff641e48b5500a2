"""``maskwise train``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwise.commands.groups import ungrouped
from maskwise.commands.options import Out, Weights
from maskwise.core.errors import InputError
from maskwise.plain import speaks_plainly
from maskwise.volume import is_quiet, shows_progress

if TYPE_CHECKING:
    from maskwise.training.callbacks import Callback

TrainOn = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.")]
Precision = Annotated[
    str, typer.Option("--precision", help="fp32, bf16, fp16 (autocast), or auto: bf16 on a GPU that has it.")
]


@dataclass(frozen=True)
class Spread:
    """How a training is spread over processes and over time."""

    devices: Annotated[int, typer.Option(min=1, help="Processes on this machine, each with a GPU or CPU cores.")] = 1
    nodes: Annotated[
        int, typer.Option(min=1, help="Machines; each starts this command with NODE_RANK, MASTER_ADDR, MASTER_PORT.")
    ] = 1
    accumulate: Annotated[
        int, typer.Option(min=1, help="Parts of a batch, one after another, where it does not fit the memory.")
    ] = 1
    compile: Annotated[bool, typer.Option("--compile", help="torch.compile classifier and masker.")] = False
    compiler: Annotated[str, typer.Option(help="With --compile: torch.compile's backend.")] = "inductor"
    workers: Annotated[
        int | None, typer.Option(min=1, help="Threads that read, each process (1 on a CPU, up to 8 by a GPU).")
    ] = None
    cache_gib: Annotated[
        float, typer.Option("--cache-gib", min=0, help="Of decoded pictures that are kept in memory.")
    ] = 4.0


@dataclass(frozen=True)
class Watched:
    """How a training is watched while it runs."""

    log: Annotated[
        list[str] | None, typer.Option("--log", help="csv, tensorboard, wandb or mlflow, too; may be given again.")
    ] = None
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write index.html, curves and pictures for a browser.")
    ] = True
    look_minutes: Annotated[float, typer.Option(min=0, help="Between two contact sheets of the page.")] = 5.0

    def lines(self) -> list[Callback]:
        """What says on stderr where the page is and, where no bar is shown, how far the training is."""
        from maskwise.training.watch.lines import Lines

        return [] if is_quiet() else [Lines(None if shows_progress() else 60.0, self.page)]


@speaks_plainly
@ungrouped
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name (see `maskwise recipes`) or a .yaml file.")],
    data: Annotated[list[str], typer.Option("--data", help="Folder, zip or zip@split; may be given again.")],
    classifier: Annotated[
        str | None,
        typer.Option("--classifier", help="Instead of the recipe's; published recipes name the papers' ResNet-50."),
    ] = None,
    weights: Weights = None,
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
    precision: Precision = "auto",
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="Steps between checkpoints, beside those by time.")
    ] = None,
    checkpoint_minutes: Annotated[float, typer.Option(min=0, help="Between checkpoints.")] = 5.0,
    on_nan: Annotated[
        str, typer.Option("--on-nan", help="stop, with the step's pictures saved; or skip the step and count it.")
    ] = "stop",
    nan_limit: Annotated[int, typer.Option(min=1, help="Skipped steps in a row that stop the training.")] = 10,
    half_encoder: Annotated[bool, typer.Option(help="Store the adapted classifier in float16.")] = False,
    held_out: Annotated[
        list[str] | None, typer.Option("--held-out", help="Source of the contact sheets' pictures; may be given again.")
    ] = None,
    *,
    spread: Spread,
    watched: Watched,
) -> None:
    """Trains a masker (or what else RECIPE describes); writes it, recipe.yaml and log.jsonl.

    Several processes share each batch of the recipe: with --devices, under torchrun, or in a job of Slurm.
    """
    from maskwise.core.allocator import keep_freed_memory
    from maskwise.core.files import check_writable

    keep_freed_memory()
    check_writable(out)
    check_device(device)
    from maskwise.training import train as run

    second = int(os.environ.get("LOCAL_RANK", 0)) > 0
    named = {"classes": classes, "per_class": per_class, "steps": steps, "seed": seed}
    try:
        path = run(
            recipe,
            data,
            classifier=classifier,
            weights=weights,
            out=out,
            overrides=[*(settings or []), *(f"{key}={value}" for key, value in named.items() if value is not None)],
            resume=resume,
            device=device,
            checkpoint_every=checkpoint_every,
            checkpoint_minutes=checkpoint_minutes,
            half_encoder=half_encoder,
            precision=precision,  # type: ignore[arg-type]
            on_nan=on_nan,  # type: ignore[arg-type]
            nan_limit=nan_limit,
            devices=spread.devices,
            nodes=spread.nodes,
            accumulate=spread.accumulate,
            compiler=spread.compiler if spread.compile else None,
            workers=spread.workers,
            cache_gib=spread.cache_gib,
            progress=shows_progress(),
            callbacks=watched.lines(),
            look_minutes=watched.look_minutes,
            page=watched.page,
            log=watched.log or (),
            held_out=held_out,
        )
    except InputError:
        if second:  # the first process of this machine says the same
            raise typer.Exit(2) from None
        raise
    if not second and int(os.environ.get("NODE_RANK") or os.environ.get("GROUP_RANK") or 0) == 0:
        typer.echo(str(path))


def check_device(name: str) -> None:
    from torch import backends, cuda

    there = {"auto": True, "cpu": True, "cuda": cuda.is_available(), "mps": backends.mps.is_available()}
    if not there.get(name):
        what = "is not here" if name in there else "is unknown"
        raise InputError(f"device {name!r} {what}: use {' or '.join(d for d, here in there.items() if here)}")
