"""The recipe of a masker that is trained on insertion and deletion themselves."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from maskwise.maskers.layout import Layout
from maskwise.training.frozen_decoder import FrozenRecipe


class RankingRecipe(FrozenRecipe):
    """All settings of a ranking. Where nothing else is said they are ours, for a small machine.

    Source: AHA, "learning to rank" (ECCV 2026), as far as its released code tells.
    """

    kind: str = "ranking"
    title: str = "ranking"
    paper: str = "AHA (learning to rank), ECCV 2026"
    warm_up: float = Field(0.0, ge=0, lt=1, description="part of the training in which the learning rate rises")

    # the curves
    fractions: int = Field(4, ge=1, description="shares of the picture at which a step judges each curve")
    drawn: bool = Field(
        True, description="shares (j + u) / K with one u a step; or j / (K + 1), the curve's trapezoid rule"
    )
    cells: tuple[int, int] = Field((7, 14), description="cells of the picture's longer side, drawn between these")
    follows: Literal["predicted", "label", "two"] = Field(
        "predicted", description="whose probability; two is the top class and the label, or the runner-up, where equal"
    )
    fills: list[str | dict[str, Any]] = Field(
        ["mean", {"name": "blur"}, "black"], min_length=1, description="what stands in the holes, one drawn each step"
    )
    mask_blur: float = Field(0.0, ge=0, description="sigma in pixels of a blur of the masks' edges")

    # the softened order
    sorter: Literal["gate", "sinkhorn"] = Field("gate", description="how the order has gradients")
    tau: float = Field(0.1, gt=0, description="its softness")
    tau_end: float | None = Field(None, gt=0, description="what tau falls to, linearly; None leaves it")
    sweeps: int = Field(30, ge=1, description="of a Sinkhorn matrix")
    noise: bool = Field(True, description="Gumbel noise on a Sinkhorn matrix")
    spread: float = Field(3.0, gt=0, description="deviation of the scores that a Sinkhorn matrix reads")

    # its surroundings
    smoothness: float = Field(0.0025, ge=0, description="price of peaks above their surroundings, squared")
    smooth_window: int = Field(15, ge=3, description="pixels of the input that the surroundings reach over")

    @model_validator(mode="after")
    def _possible(self) -> RankingRecipe:
        layout = Layout.of(dict(self))
        if not 2 <= self.cells[0] <= self.cells[1]:
            raise ValueError(f"cells are two numbers from 2 on, the smaller first, not {list(self.cells)}")
        if self.follows == "two" and not layout.reads_class:
            raise ValueError("two classes have two maps only where the decoder reads the class: class_tap=true")
        return self

    def learning_rate_factor(self, step: int, steps_per_epoch: int) -> float:
        """As any recipe's, and rising first."""
        usual = super().learning_rate_factor(step, steps_per_epoch)
        rising = self.warm_up * self.total_steps(steps_per_epoch)
        return usual * min(1.0, (step + 1) / rising) if rising else usual

    def tau_at(self, done: float) -> float:
        """The softness after a part of the training."""
        return self.tau if self.tau_end is None else self.tau + (self.tau_end - self.tau) * min(done, 1.0)

    def shares(self, shift: float) -> list[float]:
        """The shares of the picture that a step judges, all above 0 and below 1.

        Args:
            shift: u in (0,1), of drawn shares.
        """
        count = self.fractions
        if self.drawn:
            return [(j + shift) / count for j in range(count)]
        return [j / (count + 1) for j in range(1, count + 1)]
