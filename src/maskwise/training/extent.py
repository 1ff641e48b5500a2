"""A training whose masks have become empty, or as large as the picture, says so while there is time to start again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

from maskwise.training.callbacks import Callback, TrainingState

PATIENCE = 50  # steps in a row; masks that overshoot lambda_r's steering are back sooner


class Extent(Callback):
    """Watches the mean mask, and warns once.

    Where a sigmoid is near 0 or 1 its slope is next to nothing, so such masks seldom come back, though the loss looks
    like any other.

    Args:
        target: the area that is steered to, if any. Below a twentieth of it masks count as empty, and as full where
            less than a twentieth of the rest is left over.
    """

    def __init__(self, target: float | None = None) -> None:
        self.empty = (target or 0.1) / 20
        self.full = 1 - (1 - (target or 0.9)) / 20
        self.side, self.since, self.told = 0, 0, False

    def on_step(self, state: TrainingState) -> None:
        if state.logged:
            self.see(int(state.logged["step"]), state.logged)

    def see(self, step: int, logged: Mapping[str, float]) -> None:
        """Takes what a step logged; trainings without ``area``, and steps that were skipped, are left alone."""
        area = logged.get("area")
        if area is None or self.told:
            return
        side = (area > self.full) - (area < self.empty)
        if side != self.side:
            self.side, self.since = side, step
        if side and step - self.since + 1 >= PATIENCE:
            self.told = True
            what, size, how = ("fill the picture", "small", "larger") if side > 0 else ("are empty", "large", "smaller")
            warnings.warn(
                f"since step {self.since} masks {what} (mean {area:.2g}), and they seldom come back: lambda_r was "
                f"too {size} to begin with; start again with a {how} one (--set objectives.NAME.lambda_r)",
                stacklevel=2,
            )
