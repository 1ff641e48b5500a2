"""How a training is spread over processes, watched, and set; of every command that trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

import typer

from maskwise.commands.groups.model import Model
from maskwise.commands.groups.output import Output

if TYPE_CHECKING:
    from maskwise.training.callbacks import Callback

HEADING = "Training"
AUTO = Model(precision="auto")
RecipeSettings = Annotated[
    list[str] | None, typer.Option("--set", help="key=value, overrides the recipe; a.b=value reaches deeper.")
]


@dataclass(frozen=True)
class Spread:
    """How a training is spread over processes and over time."""

    heading: ClassVar[str] = HEADING
    devices: Annotated[
        int, typer.Option("--devices", min=1, help="Processes on this machine, each with a GPU or CPU cores.")
    ] = 1
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes", min=1, help="Machines; each starts this command with NODE_RANK, MASTER_ADDR, MASTER_PORT."
        ),
    ] = 1
    accumulate: Annotated[
        int,
        typer.Option(
            "--accumulate", min=1, help="Parts of a batch, one after another, where it does not fit the memory."
        ),
    ] = 1
    compiler: Annotated[bool, typer.Option("--compile", help="torch.compile classifier and masker.")] = False
    compiler_name: Annotated[str, typer.Option("--compiler", help="With --compile: torch.compile's backend.")] = (
        "inductor"
    )
    workers: Annotated[
        int | None,
        typer.Option("--workers", min=1, help="Threads that read, each process (1 on a CPU, up to 8 by a GPU)."),
    ] = None
    cache_gib: Annotated[
        float, typer.Option("--cache-gib", min=0, help="Of decoded pictures that are kept in memory.")
    ] = 4.0


@dataclass(frozen=True)
class Watched:
    """How a training is watched while it runs."""

    heading: ClassVar[str] = HEADING
    log: Annotated[
        list[str] | None, typer.Option("--log", help="csv, tensorboard, wandb or mlflow, too; may be given again.")
    ] = None
    page: Annotated[
        bool, typer.Option("--page/--no-page", help="Write index.html, curves and pictures for a browser.")
    ] = True
    look_minutes: Annotated[
        float, typer.Option("--look-minutes", min=0, help="Between two contact sheets of the page.")
    ] = 5.0

    def lines(self, output: Output) -> list[Callback]:
        """What says on stderr where the page is and, where no bar is shown, how far the training is."""
        from maskwise.training.watch.lines import Lines

        return [] if output.quiet else [Lines(None if output.shows_progress else 60.0, self.page)]
