"""The recipe of a classifier: which of its weights begin anew, and how they learn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from maskwise.training.base_recipe import BaseRecipe

Start = Literal["scratch", "pretrained", "reinitialised"]


class ClassifierRecipe(BaseRecipe):
    """All settings of one training: stochastic gradient descent with momentum on the cross entropy.

    The defaults are the schedule by which ResNets are trained on ImageNet (He et al. 2016, section 3.4; torchvision's
    reference training of its V1 weights): 90 epochs of 256 pictures, rate 0.1, a tenth of that every 30 epochs.
    """

    kind: Literal["classifier"] = "classifier"
    title: str = "Classifier"
    paper: str = "He et al. 2016"
    epochs: int = Field(90, ge=1)
    fraction: float = Field(1.0, gt=0, le=1, description="part of the pictures that one epoch sees")
    batch_size: int = Field(256, ge=2)
    lr_decay: Literal["none", "step", "cosine"] = "step"
    lr_step_epochs: int = Field(30, ge=1, description="with lr_decay=step: times 0.1 every so many epochs")
    clip: float = Field(1e9, gt=0, description="gradient norm; so large that nothing is clipped")

    lr: float = Field(0.1, gt=0, description="SGD")
    momentum: float = Field(0.9, ge=0, lt=1)
    start: Start = Field(
        "scratch",
        description="all weights begin anew; from the pretrained ones; or those after a tap begin anew and alone learn",
    )
    fresh_after: int = Field(
        -2, description="with start=reinitialised: the tap after which weights begin anew, -1 last"
    )
