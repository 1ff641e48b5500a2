"""A decoder that learns on a frozen classifier: what kinds of training share that differ in their losses alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field

from maskwise.classifiers import Classifier
from maskwise.maskers.finish import Finish
from maskwise.maskers.layout import Layout
from maskwise.maskers.masker import Masker
from maskwise.maskers.own_encoder import SMALL, own_encoder
from maskwise.maskers.store import start_at
from maskwise.training.base_recipe import BaseRecipe, Decay
from maskwise.training.crop_size import check_takes, crop_size
from maskwise.training.draws import seeded

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class FrozenRecipe(BaseRecipe):
    """The decoder's settings, of which each is our own choice for a small machine."""

    crop_area: tuple[float, float] = (0.3, 1.0)
    lr_decay: Decay = "cosine"
    taps: tuple[int, ...] | None = Field(None, description="which taps are read, 0 the finest, -1 the last")
    decoder: Literal["added", "mixed", "ladder"] = "mixed"
    first_tap: Literal["projected", "raw"] = "projected"
    width: int = Field(24, ge=1, description="channels of a projected tap")
    mix: int = Field(32, ge=1, description="channels that a mixing decoder mixes all taps to")
    class_tap: bool = Field(True, description="a mixing decoder reads the class activation of the asked class")
    head_std: float | None = Field(0.02, ge=0, description="of the last convolution's first weights")
    class_gate: float | None = Field(None, gt=0, le=1, description="the trained mask is gated by class")
    gate_scales: tuple[Annotated[float, Field(ge=1, le=4)], ...] = Field((1.0,), min_length=1)
    sharpness: float | None = Field(None, gt=0, description="the trained mask is sharpened about its own mean")
    pamr: int = Field(
        0, ge=0, le=100, description="rounds in which the trained mask runs along to pixels of the same colour"
    )
    start: str | None = Field(None, description="a masker's file whose decoder the training begins with")
    masker_lr: float = Field(2e-3, gt=0, description="Adam; AdamW where it is a ranking")


def frozen_masker(classifier: Classifier, recipe: FrozenRecipe, fabric: Fabric, own: str | None = None) -> Masker:
    """A masker whose decoder has the first weights of the recipe's seed, or those of its ``start``, and is to learn.

    Args:
        own: name of an encoder of its own, which learns with the decoder where it is ``small``; None reads the
            classifier.

    Raises:
        InputError: that encoder does not exist, or takes no pictures of this size.
    """
    with seeded(recipe.seed):
        encoder = None if own is None else own_encoder(own, classifier)
        masker = Masker.build(
            classifier, reads=recipe.taps, finish=Finish.of(dict(recipe)), layout=Layout.of(dict(recipe)),
            encoder=encoder,
        )  # fmt: skip
    if encoder is not None:
        example = encoder.example(size=crop_size(classifier, recipe.input_size))
        check_takes(f"encoder {encoder.name}", encoder.features, example)
    start_at(masker, recipe.start, classifier, encoder_too=own == SMALL)
    masker.to(fabric.device).to(memory_format=torch.channels_last)
    masker.decoder.train()
    if own == SMALL:
        masker.encoder.train().module.requires_grad_(True)
        masker.encoder.module.train()
    return masker
