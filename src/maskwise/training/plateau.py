"""A training that ends when held-out pictures say that it learns no more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from maskwise.maskers import Masker
from maskwise.training.callbacks import Callback, TrainingState
from maskwise.training.guard import copied

EVERY = 25  # steps between two looks at the held-out pictures
PATIENCE = 4  # looks without progress until the rates are cut, then half as many until the end
FLAT = "the objective has flattened"
PROGRESS = 0.01  # of the way come so far, that counts as progress


class Plateau(Callback):
    """Looks at held-out pictures: cuts the rates when their objective flattens, then ends; what was best is kept.

    Args:
        objective: of the masker as it is; lower is better.
        every: steps between two looks.
        patience: looks without progress until the rates are cut, and half as many until the end.

    Attributes:
        flattened: did the objective flatten before the last allowed step?
        best: weights of the decoder at the best look.
        best_step: which look that was.
    """

    def __init__(self, objective: Callable[[Masker], float], every: int = EVERY, patience: int = PATIENCE) -> None:
        self.objective, self.every, self.patience = objective, every, patience
        self.seen: list[float] = []
        self.since, self.cut, self.flattened = 0, False, False
        self.best: dict[str, Tensor] = {}
        self.best_step = 0

    def on_look(self, state: TrainingState) -> None:
        """The first look of a run that goes on is before its first step, of which there is none where it had ended."""
        if self.flattened:
            state.end(FLAT)

    def on_step(self, state: TrainingState) -> None:
        if state.step % self.every == 0:
            self.look(state)

    def look(self, state: TrainingState) -> None:
        masker = watched_masker(state)
        best = min(self.seen, default=float("inf"))
        self.seen.append(self.objective(masker))
        if self.seen[-1] < best:
            self.best, self.best_step = copied(masker.decoder.state_dict()), state.step
        way = self.seen[0] - best if len(self.seen) > 1 else 0.0
        self.since = 0 if self.seen[-1] < best - PROGRESS * max(way, 0.0) else self.since + 1
        if not self.cut and self.since >= self.patience:
            self.cut, self.since, state.trainer.rate = True, 0, 0.1
        elif self.cut and self.since >= max(self.patience // 2, 1):
            self.flattened = True
            state.end(FLAT)

    def on_end(self, state: TrainingState) -> None:
        """The best masker so far takes the last one's place."""
        if state.step % self.every and not state.interrupted:
            self.look(state)
        if self.best:
            watched_masker(state).decoder.load_state_dict(self.best)

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("seen", "since", "cut", "flattened", "best", "best_step")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, name, value)


def watched_masker(state: TrainingState) -> Masker:
    """The masker that a training of masks is of."""
    masker = getattr(state.trainer, "masker", None)
    assert isinstance(masker, Masker)
    return masker
