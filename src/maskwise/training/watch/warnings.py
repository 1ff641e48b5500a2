"""A training that goes wrong says so, once and in plain words, while there is time to start again."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Mapping
from typing import Any

from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.callbacks import Callback, TrainingState

PATIENCE = 50  # steps in a row; masks that overshoot lambda_r's steering are back sooner
WINDOW = 50  # steps that clean accuracy is averaged over
FALLEN = 0.8  # of the first steps' accuracy
WAITING = 0.3  # of the time, for pictures


def early_warnings(recipe: BaseRecipe) -> list[EarlyWarning]:
    """All that can be said of a training by this recipe."""
    adapts = getattr(recipe, "thinning", "F") != "F"
    extent = Extent(getattr(recipe, "target_area", None))
    return [extent, *([CleanAccuracy()] if adapts else []), WaitsForPictures(), Skipped()]


class EarlyWarning(Callback):
    """Looks at every line of the log; what it tells is remembered over an interruption, and not told again.

    Attributes:
        told: what was said so far.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_step(self, state: TrainingState) -> None:
        for line in state.fresh:
            self.see(int(line["step"]), line)

    def see(self, step: int, logged: Mapping[str, float]) -> None:
        """Takes what a step logged."""

    def say(self, text: str) -> None:
        self.told.append(text)
        warnings.warn(text, stacklevel=2)

    def state_dict(self) -> dict[str, Any]:
        return {"told": list(self.told)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.told = list(state["told"])


class Extent(EarlyWarning):
    """Masks that have become empty, or as large as the picture.

    Where a sigmoid is near 0 or 1 its slope is next to nothing, so such masks seldom come back, though the loss looks
    like any other.

    Args:
        target: the area that is steered to, if any. Below a twentieth of it masks count as empty, and as full where
            less than a twentieth of the rest is left over.
    """

    def __init__(self, target: float | None = None) -> None:
        super().__init__()
        self.empty = (target or 0.1) / 20
        self.full = 1 - (1 - (target or 0.9)) / 20
        self.side, self.since = 0, 0

    def see(self, step: int, logged: Mapping[str, float]) -> None:
        """Trainings without ``area``, and steps that were skipped, are left alone."""
        area = logged.get("area")
        if area is None or self.told:
            return
        side = (area > self.full) - (area < self.empty)
        if side != self.side:
            self.side, self.since = side, step
        if side and step - self.since + 1 >= PATIENCE:
            what, size, how = ("fill the picture", "small", "larger") if side > 0 else ("are empty", "large", "smaller")
            self.say(
                f"since step {self.since} masks {what} (mean {area:.2g}), and they seldom come back: lambda_r was "
                f"too {size} to begin with; start again with a {how} one (`overrides=objectives.NAME.lambda_r`)"
            )


class CleanAccuracy(EarlyWarning):
    """A classifier that adapts, and forgets the pictures without a mask.

    The mean over the last 50 steps is held against that over the first 50.
    """

    def __init__(self) -> None:
        super().__init__()
        self.first: list[float] = []
        self.last: deque[float] = deque(maxlen=WINDOW)

    def see(self, step: int, logged: Mapping[str, float]) -> None:
        """Trainings without ``right``, and steps that were skipped, are left alone."""
        right = logged.get("right")
        if right is None or self.told:
            return
        if len(self.first) < WINDOW:
            self.first.append(right)
            return
        self.last.append(right)
        before, now = sum(self.first) / len(self.first), sum(self.last) / len(self.last)
        if len(self.last) == WINDOW and now < FALLEN * before:
            self.say(
                f"at step {step} the classifier is right on {100 * now:.0f}% of the clean pictures, on "
                f"{100 * before:.0f}% in its first {WINDOW} steps: it forgets what it knew, so its masks say less and "
                "less; start again with a smaller classifier_lr, or with batch_norm=frozen (`overrides`)"
            )

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "first": list(self.first), "last": list(self.last)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.first, self.last = list(state["first"]), deque(state["last"], WINDOW)


class WaitsForPictures(EarlyWarning):
    """A network that has nothing to do while pictures are read."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0  # of this process: its time is measured

    def on_step(self, state: TrainingState) -> None:
        self.steps += 1
        if self.steps >= PATIENCE and state.waited > WAITING and not self.told:
            self.say(
                f"{100 * state.waited:.0f}% of the time goes by waiting for pictures: read them with more threads "
                "(`workers`), keep them decoded in memory (`cache_gib`), or shrink them once (maskwise pack)"
            )


class Skipped(EarlyWarning):
    """The first step that gave NaN; how many there were is said at the end."""

    def see(self, step: int, logged: Mapping[str, float]) -> None:
        if logged.get("skipped") and not self.told:
            self.say(f"step {step} gave NaN and was skipped; if there are many, start again with lower learning rates")
