"""The recipe of a masker that divides frozen features into regions, and sees no masked picture."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from maskwise.maskers.layout import Layout
from maskwise.maskers.region_decoder import Channel
from maskwise.training.base_recipe import BaseRecipe, Decay
from maskwise.training.region_losses import RegionLoss, losses_of


class RegionsRecipe(BaseRecipe):
    """All settings of a training on regions of cached taps."""

    kind: str = "regions"
    title: str = "regions"
    paper: str = "TriLite, CVPR 2026; SAT, ICCV 2023"
    epochs: int = Field(20, ge=1, description="passes over `fraction` of the pictures")
    batch_size: int = Field(256, ge=2)
    weight_decay: float = Field(0.01, ge=0, description="AdamW")
    lr_decay: Decay = "cosine"
    crop_area: tuple[float, float] = Field((0.3, 1.0), description="of the views beyond the first, part of the area")

    # what is read
    taps: tuple[int, ...] | None = Field((-2, -1), description="which taps are read, 0 the finest, -1 the last")
    views: int = Field(1, ge=1, description="of each picture: the whole, and random crops; an epoch takes one of them")
    cached: bool = Field(True, description="taps are computed once and kept in a file; else a forward in every step")
    tap_file: str | None = Field(None, description="file (.npy) that keeps the taps; None is taps.npy in the folder")

    # the regions
    decoder: Literal["regions"] = "regions"
    regions: int = Field(3, ge=2, le=3, description="fg, bg and, with 3, ambiguous")
    channel: Channel = Field("fg", description="what the mask shows: fg, or not_bg, the ambiguous too")
    losses: dict[str, dict[str, Any]] = Field({"trilite": {}}, description="by name, each with its options")
    dropout: float = Field(0.25, ge=0, lt=1, description="of mean features, before the linear layer that learns along")
    masker_lr: float = Field(1e-3, gt=0, description="AdamW, of the masker and of that linear layer")
    start: str | None = Field(None, description="a masker's file whose decoder the training begins with")

    # its end
    held_back: float = Field(
        0.0, ge=0, lt=1,
        description="part of the pictures that no step sees: the training ends where its loss on them no longer falls, "
        "and the best decoder is kept; 0 trains to the last step",
    )  # fmt: skip

    # its finish
    class_gate: float | None = Field(None, gt=0, le=1, description="the trained mask is gated by class")
    gate_scales: tuple[Annotated[float, Field(ge=1, le=4)], ...] = Field((1.0,), min_length=1)
    sharpness: float | None = Field(None, gt=0, description="the trained mask is sharpened about its own mean")
    pamr: int = Field(
        0, ge=0, le=100, description="rounds in which the trained mask runs along to pixels of the same colour"
    )

    @model_validator(mode="after")
    def _possible(self) -> RegionsRecipe:
        Layout.of(dict(self))
        losses_of(self.losses)
        if self.views > 1 and not self.cached:
            raise ValueError("views are of cached taps; without them each step sees a crop: views=1, or cached=true")
        return self

    @property
    def part_held_back(self) -> float:
        return self.held_back

    def built_losses(self) -> dict[str, RegionLoss]:
        return losses_of(self.losses)
