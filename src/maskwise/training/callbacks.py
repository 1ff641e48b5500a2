"""What may watch a training, and end it: hooks after each step, at each look, and at the end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maskwise.training.trainer import Trainer


@dataclass
class TrainingState:
    """A training as its callbacks see it.

    Attributes:
        trainer: what is trained; ``trainer.steps`` are done, and setting ``trainer.rate`` scales all learning rates.
        out: the run's folder, with ``log.jsonl`` in it.
        total: steps in all.
        logged: the last line of the log, by name. Beside a GPU it is up to 20 steps old, since reading it would make
            each step wait.
        fresh: all lines that the log got since the last ``on_step``: one on a CPU, none or up to 20 beside a GPU.
        ended: why the training was asked to end; None goes on.
        waited: share of the time that went by waiting for pictures.
        seconds_waited: the same in seconds, since this run began or was resumed.
        interrupted: number of the signal by which the user or the system asked it to end, so that it may be resumed;
            0: none came.
    """

    trainer: Trainer
    out: Path
    total: int
    logged: Mapping[str, float] = field(default_factory=dict)
    fresh: Sequence[Mapping[str, float]] = ()
    ended: str | None = None
    waited: float = 0.0
    seconds_waited: float = 0.0
    interrupted: int = 0

    @property
    def step(self) -> int:
        """Steps that are done."""
        return self.trainer.steps

    def end(self, why: str) -> None:
        """Ends the training after this step; what there is then is written."""
        self.ended = why


class Callback:
    """Override what you need; each method gets the ``TrainingState``.

    With several processes the main one alone calls them, while the others wait.

    Example:
        >>> class Until(Callback):
        ...     def on_step(self, state):
        ...         if state.logged.get("loss", 1.0) < 0.1:
        ...             state.end("the loss is small enough")
    """

    def state_dict(self) -> dict[str, Any]:
        """What it must remember over an interruption, as tensors and plain data; it goes into the checkpoints."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from ``state_dict``."""

    def on_step(self, state: TrainingState) -> None:
        """After every step; keep it short. A callback that reads tensors of the trainer makes a GPU wait."""

    def on_look(self, state: TrainingState) -> None:
        """Every few minutes (``look_minutes``), and once before the first step: for pictures and figures."""

    def on_end(self, state: TrainingState) -> None:
        """Once, after the last step and before the trained file is written; also when it was interrupted."""

    def on_error(self, state: TrainingState, error: BaseException) -> None:
        """Once, instead of ``on_end``, where an error ends the training; it is raised again after."""


class Callbacks:
    """Several callbacks as one, asked in order."""

    def __init__(self, callbacks: Sequence[Callback]) -> None:
        self.callbacks = list(callbacks)

    def state_dict(self) -> list[dict[str, Any]]:
        return [{"kind": _kind(callback), "state": callback.state_dict()} for callback in self.callbacks]

    def load_state_dict(self, states: Sequence[dict[str, Any]]) -> None:
        """Each takes what the one of its kind had, first to first; those that were not there before begin anew."""
        left = list(states)
        for callback in self.callbacks:
            mine = next((state for state in left if state["kind"] == _kind(callback)), None)
            if mine is not None:
                left.remove(mine)
                callback.load_state_dict(mine["state"])

    def on_step(self, state: TrainingState) -> None:
        for callback in self.callbacks:
            callback.on_step(state)

    def on_look(self, state: TrainingState) -> None:
        for callback in self.callbacks:
            callback.on_look(state)

    def on_end(self, state: TrainingState) -> None:
        for callback in self.callbacks:
            callback.on_end(state)

    def on_error(self, state: TrainingState, error: BaseException) -> None:
        for callback in self.callbacks:
            callback.on_error(state, error)


def _kind(callback: Callback) -> str:
    return type(callback).__qualname__
