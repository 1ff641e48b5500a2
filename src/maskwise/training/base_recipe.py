"""What the recipe of any training says: on which pictures, for how long, how fast."""

from __future__ import annotations

import math
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

Decay = Literal["none", "step", "cosine"]


class BaseRecipe(BaseModel):
    """Settings that every kind of training has; each kind adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str = Field("mask", description="what is trained: a class-agnostic masker unless it says otherwise")
    title: str = ""
    paper: str = ""
    row: str | None = Field(None, description="of which published table this is which row")
    classifier: str = "efficientnet_lite0"
    seed: int = 0

    # how long and on what
    epochs: int = Field(1, ge=1, description="passes over `fraction` of the pictures")
    steps: int | None = Field(None, ge=1, description="so many steps in all, whatever the number of pictures")
    fraction: float = Field(1.0, gt=0, le=1, description="part of the pictures that one epoch sees")
    batch_size: int = Field(32, ge=2)
    input_size: int | None = Field(None, ge=8, description="pixels of a crop's longer side; None: the classifier's")
    crop_area: tuple[float, float] = Field((0.08, 1.0), description="random resized crop, part of the picture's area")
    classes: int | tuple[int, ...] | None = Field(
        None, description="train on so many classes, drawn by the seed, or on these; the others stay unseen"
    )
    per_class: int | None = Field(None, ge=1, description="train on at most so many pictures of each class")

    # the optimizers
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(10.0, gt=0, description="gradient norm of the masker")
    lr_decay: Decay = "none"
    lr_step_epochs: int = Field(
        20, ge=1, description="with lr_decay=step: times 0.1 every so many of `epochs` [C]; with `steps` the same part"
    )

    @field_validator("classes")
    @classmethod
    def _some_classes(cls, classes: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if classes is not None and (classes < 1 if isinstance(classes, int) else not classes):
            raise ValueError("at least one class is needed")
        return classes

    @property
    def asks_only(self) -> bool:
        """Is the classifier only asked in this training, so that it may be a black box?"""
        return False

    @property
    def part_held_back(self) -> float:
        """Part of the pictures that no step sees, since they say when the training ends."""
        return 0.0

    def total_steps(self, steps_per_epoch: int) -> int:
        return self.steps or self.epochs * steps_per_epoch

    def learning_rate_factor(self, step: int, steps_per_epoch: int) -> float:
        """What the learning rates are multiplied by at ``step``, counted from 0.

        All decay is relative to the whole training: ``step`` divides by 10 after each ``lr_step_epochs / epochs`` of
        it. Without ``steps`` that is every ``lr_step_epochs`` epochs. With them an epoch says nothing: on a few
        pictures it is one step long, and a rate that counted epochs would be gone at once.
        """
        total = self.total_steps(steps_per_epoch)
        if self.lr_decay == "step":
            return 0.1 ** (step * self.epochs // (total * self.lr_step_epochs))
        if self.lr_decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / total))
        return 1.0
