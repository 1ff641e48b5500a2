"""The loop of a training: steps, their lines in the log, checkpoints, and whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from maskwise.training.callbacks import Callbacks, TrainingState
from maskwise.training.checkpoint import Checkpoints
from maskwise.training.distributed.processes import broadcast, is_main_process
from maskwise.training.guard import Guard, StepMetrics
from maskwise.training.interrupts import interrupts
from maskwise.training.log import Log


@dataclass(frozen=True)
class Rhythm:
    """How often the loop does what need not be done at every step.

    Attributes:
        checkpoint_steps: steps between two checkpoints; None goes by time alone.
        checkpoint_minutes: between two checkpoints, on the clock.
        look_minutes: between two looks of the callbacks.
    """

    checkpoint_steps: int | None = None
    checkpoint_minutes: float = 5.0
    look_minutes: float = 5.0


class Batches(Protocol):
    """Where a loop gets its pictures from: ``Loader``, or anything with as much."""

    @property
    def steps(self) -> int:
        """Batches an epoch."""

    def batches(
        self, first: int, end: int, rank: int = 0, world: int = 1
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Images and labels of steps ``first`` to ``end``, over all epochs; each of ``world`` ranks gets its share."""


class _Every:
    """Is it time again? Asked by the clock, answered by the main process for all."""

    def __init__(self, minutes: float) -> None:
        self.seconds, self.last = 60 * minutes, time.monotonic()

    def due(self) -> bool:
        return time.monotonic() - self.last >= self.seconds

    def again(self) -> None:
        self.last = time.monotonic()


def run_steps(
    guard: Guard,
    loader: Batches,
    state: TrainingState,
    log: Log,
    checkpoints: Checkpoints | None,
    callbacks: Callbacks,
    rhythm: Rhythm,
    advance: Callable[[str], None],
) -> None:
    """Steps from where the trainer is to the end, or until a callback or a signal ends it; then a last checkpoint.

    Args:
        guard: takes the steps.
        loader: gives the pictures.
        state: what callbacks see.
        log: gets a line a step.
        checkpoints: None saves nothing, not even at the end.
        callbacks: watch, and may end the training.
        rhythm: of checkpoints and looks.
        advance: the progress bar, told of each step that has been read.
    """
    trainer, fabric = guard.trainer, guard.trainer.fabric
    main = is_main_process(fabric)
    first, began = trainer.steps, time.monotonic()
    saving, looking = _Every(rhythm.checkpoint_minutes), _Every(rhythm.look_minutes)
    written = trainer.steps
    saved: int | None = None

    def write(rows: list[StepMetrics]) -> None:
        nonlocal written
        fresh: list[Mapping[str, float]] = []
        for row in rows:
            written += 1
            seconds = (time.monotonic() - began) / (trainer.steps - first)
            place = {"step": written, "epoch": (written - 1) // loader.steps}
            state.logged = {**place, **{k: _rounded(v) for k, v in row.items()}, "seconds_per_step": round(seconds, 3)}
            log.write(state.logged)
            fresh.append(state.logged)
            advance(next((f"{k} {v:.2f}" for k, v in row.items() if k != "loss"), ""))
        state.fresh = fresh

    def save() -> None:
        nonlocal saved
        log.sync()
        if main and checkpoints is not None:
            checkpoints.save(trainer)
        saving.again()
        saved = trainer.steps

    batches = loader.batches(trainer.steps, state.total, fabric.global_rank, fabric.world_size)
    with log, interrupts() as interrupted:
        if main:
            callbacks.on_look(state)
        state.ended = broadcast(fabric, state.ended)  # a run that goes on may have ended before
        while trainer.steps < state.total and state.ended is None:
            asked = time.monotonic()
            images, labels = next(batches)
            state.seconds_waited += time.monotonic() - asked
            rows = guard.step(images, labels)
            state.waited = state.seconds_waited / max(time.monotonic() - began, 1e-9)
            every = rhythm.checkpoint_steps
            if (every is not None and trainer.steps % every == 0) or trainer.steps == state.total:
                rows += guard.read()
            write(rows)
            if main:
                callbacks.on_step(state)
                if state.ended is not None and fabric.world_size == 1 and not rows:  # no other process to agree with
                    write(rows := guard.read())
                state.interrupted = interrupted() or state.interrupted  # a callback may say it, too
                if state.interrupted:
                    state.end("interrupted")
                if rows and looking.due():
                    callbacks.on_look(state)
                    looking.again()
            # Processes agree only where they have waited for each other anyway.
            if rows:
                said = (state.ended, state.interrupted, trainer.rate, saving.due())
                state.ended, state.interrupted, trainer.rate, due = broadcast(fabric, said)
                if state.ended is not None:
                    break
                if due or (every is not None and trainer.steps % every == 0):
                    save()
        batches.close()
        if saved != trainer.steps:
            save()
        if main:
            callbacks.on_end(state)
    guard.say()


def _rounded(value: float) -> float:
    """Five digits after the point, or five that count where it is a small one, such as a learning rate."""
    return round(value, 5) if abs(value) >= 0.01 else float(f"{value:.5g}")
