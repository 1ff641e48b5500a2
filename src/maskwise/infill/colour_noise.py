"""A random colour and noise, drawn anew at each call."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.core.options import in_range
from maskwise.infill.base import Infiller, infillers


@infillers.register("colour_noise", source="Dabkowski & Gal 2017, released code", random=True)
@dataclass(frozen=True)
class ColourNoise(Infiller):
    """One colour a picture and noise a pixel: 0.5 + U(-spread, spread) + N(0, noise), cut to [0,1].

    The released code's numbers, .33 and .11, belong to pictures in [-1,1]: here they are halved.

    Attributes:
        spread: of the colour, per picture and channel.
        noise: standard deviation, per pixel and channel.
        generator: where the draws come from; None is torch's own.
    """

    spread: float = 0.165
    noise: float = 0.055
    generator: torch.Generator | None = None

    def __post_init__(self) -> None:
        in_range("colour_noise's spread", self.spread, 0)
        in_range("colour_noise's noise", self.noise, 0)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        device = images.device if self.generator is None else self.generator.device
        shades = torch.rand(*images.shape[:2], 1, 1, generator=self.generator, device=device)
        grain = torch.randn(images.shape, generator=self.generator, device=device)
        return (0.5 + self.spread * (2 * shades - 1) + self.noise * grain).clamp(0, 1).to(images.device)
