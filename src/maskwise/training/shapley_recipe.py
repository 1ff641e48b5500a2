"""The recipe of amortised Shapley values: a surrogate that has seen pictures with holes, then the network itself."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from maskwise.training.base_recipe import BaseRecipe, Decay


class ShapleyRecipe(BaseRecipe):
    """All settings of one training in two phases."""

    kind: Literal["shapley"] = "shapley"
    title: str = "amortised Shapley values"
    paper: str = "Jethani et al. 2022; Covert et al. 2023"
    crop_area: tuple[float, float] = (0.3, 1.0)
    batch_size: int = Field(32, ge=2)
    lr_decay: Decay = "cosine"
    steps: int | None = Field(2000, ge=1, description="of both phases together")

    # the game
    grid: int = Field(4, ge=2, description="cells a side: the players")
    holes: Literal["colour", "tokens"] = Field(
        "colour",
        description="where cells are missing: the mean colour; tokens: a transformer does not see their patches, as if "
        "they were not there (timm's, read by a class token)",
    )
    masks: int = Field(32, ge=2, multiple_of=2, description="coalitions a picture and step, in pairs with complements")
    others: int = Field(2, ge=0, description="classes beside the predicted one that each picture is asked for")
    others_among: int = Field(20, ge=1, description="so many next likely classes they are drawn from")

    # phase 1: what stands for the classifier where cells are missing
    surrogate_steps: int = Field(
        500, ge=0, description="a copy learns to say of pictures with holes what the classifier says of whole ones; "
        "0 asks the classifier itself",
    )  # fmt: skip
    surrogate_lr: float = Field(1e-4, gt=0, description="Adam; lr_decay is counted over phase 1")

    # phase 2: the network
    width: int = Field(64, ge=1, description="channels of the network's head")
    class_tap: bool = Field(True, description="classes are known by the classifier's last layer, not by an embedding")
    masker_lr: float = Field(1e-3, gt=0, description="Adam; lr_decay is counted over phase 2")

    @model_validator(mode="after")
    def _has_both_phases(self) -> ShapleyRecipe:
        if self.steps is not None and self.surrogate_steps >= self.steps:
            raise ValueError(f"steps ({self.steps}) are those of both phases: more than {self.surrogate_steps}")
        return self
