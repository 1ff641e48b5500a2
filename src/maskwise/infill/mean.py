"""The mean colour: what multiplying a normalised picture by a mask leaves in its hole."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from maskwise.infill.base import Infiller, infillers


@infillers.register("mean", source="the papers' default")
@dataclass(frozen=True)
class MeanColour(Infiller):
    """The mean colour everywhere."""

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        return colour.expand_as(images)
