"""The recipe of a class-conditional masker (Dabkowski & Gal 2017)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from maskwise.class_objective import Alternative, Paper, Reading, Released
from maskwise.maskers.class_masker import EncoderSource
from maskwise.maskers.feature_filter import Embedding
from maskwise.maskers.upsampler import Kernel, Upsampling
from maskwise.training.base_recipe import BaseRecipe


class ClassMaskRecipe(BaseRecipe):
    """All settings of one training in two phases. Where paper and released code differ, the paper is the default.

    [C] is the released code, from which all numbers of the schedule come: the paper gives none.
    """

    kind: Literal["class_mask"] = "class_mask"
    title: str = "Dabkowski & Gal"
    paper: str = "Dabkowski & Gal 2017"
    crop_area: tuple[float, float] = (0.3, 1.0)
    batch_size: int = Field(128, ge=2)
    steps: int = Field(11500, ge=1, description="of both phases together")

    # the masker
    widths: tuple[int, ...] = Field((256, 128, 64), min_length=1, description="channels that leave each upsampler")
    upsampling: Upsampling = Field("transposed", description="transposed convolution, or pixel_shuffle [C]")
    kernel: Kernel = Field(2, description="side of the transposed convolution: 2, 3 or 4; the paper does not tell")
    bottlenecks: int | None = Field(None, ge=1, description="in each upsampler; None is 3, or 1 with pixel_shuffle")
    encoder: EncoderSource = Field("frozen", description="the classifier, or scratch: its like, learnt with the mask")
    embedding: Embedding = Field("normal", description="first class embeddings: noise, or the classifier's last layer")
    skip_gain: float = Field(1.0, gt=0, description="first weights on skip connections, times this; 1 in the paper")

    start: str | None = Field(None, description="a masker's file whose decoder the training begins with")

    # phase 1: the class selector alone
    selector_steps: int = Field(8500, ge=0)
    selector_fakes: float = Field(0.5, ge=0, le=1, description="how often a class is asked for that is not there")
    selector_lr: float = Field(1e-3, gt=0, description="Adam")
    selector_lr_steps: int = Field(4000, ge=1, description="times 0.1 every so many steps")

    # between them, and not in the paper
    warm_up_steps: int = Field(0, ge=0, description="fit the mask to where the filter agrees, before the objective")

    # phase 2: upsamplers and head
    masker_batch_size: int | None = Field(64, ge=2, description="pictures taken of each batch; None is all of them")
    masker_fakes: float = Field(0.3, ge=0, le=1, description="how often a class is asked for that is not there")
    masker_lr: float = Field(1e-3, gt=0, description="Adam; times lr_decay's factor, counted over phase 2")

    # the objective
    reading: Reading = Field("paper", description="log-probabilities, or the released code's hinges on logits [C]")
    weights: dict[str, float] = Field({}, description="of the objective's terms, where they differ from the reading's")
    blur_size: int = Field(55, ge=1, description="pixels, odd: kernel of the blurred alternative picture")
    blur_sigma: float = Field(11.0, gt=0, description="pixels")

    @model_validator(mode="after")
    def _possible(self) -> ClassMaskRecipe:
        if self.first_masks >= self.steps:
            raise ValueError(f"steps ({self.steps}) must leave some after selector_steps and warm_up_steps")
        if self.blur_size % 2 == 0:
            raise ValueError(f"blur_size must be odd, not {self.blur_size}")
        if self.encoder == "scratch" and self.selector_steps:
            raise ValueError("an encoder from scratch has no features to select from: selector_steps=0")
        try:
            self.objective()
        except TypeError as error:
            raise ValueError(f"weights of {self.reading}: {str(error).partition('() ')[2]}") from None
        return self

    @property
    def first_masks(self) -> int:
        """The step at which the objective takes over."""
        return self.selector_steps + self.warm_up_steps

    def objective(self) -> Paper | Released:
        made: Any = {"paper": Paper, "released": Released}[self.reading]
        losses: Paper | Released = made(**self.weights)
        return losses

    def alternative(self) -> Alternative:
        return Alternative(self.blur_size, self.blur_sigma)
