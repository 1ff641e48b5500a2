"""A random colour and noise, drawn anew at each call."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
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
        seed: draw what belongs to each picture's known pixels and this seed instead, whatever batch it comes in.
    """

    spread: float = 0.165
    noise: float = 0.055
    generator: torch.Generator | None = None
    seed: int | None = None

    def __post_init__(self) -> None:
        in_range("colour_noise's spread", self.spread, 0)
        in_range("colour_noise's noise", self.noise, 0)
        if self.seed is not None:
            in_range("colour_noise's seed", self.seed, 0)
            if self.generator is not None:
                raise InputError("colour_noise draws from a generator or by a seed; give one of them")

    def drawn(self, draw: int) -> ColourNoise:
        if not (self.spread or self.noise):
            return self
        return replace(self, generator=None, seed=(self.seed or 0) + draw)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        if self.seed is None:
            shades, grain = self._draws(images, self.generator)
        else:
            made = [self._draws(x[None], keyed_generator(x, self.seed)) for x in images * (1 - holes)]
            shades, grain = (torch.cat(parts) for parts in zip(*made, strict=True))
        return (0.5 + self.spread * (2 * shades - 1) + self.noise * grain).clamp(0, 1)

    @staticmethod
    def _draws(images: Tensor, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """(N,C,1,1) of uniform and (N,C,H,W) of normal numbers."""
        device = images.device if generator is None else generator.device
        shades = torch.rand(*images.shape[:2], 1, 1, generator=generator, device=device)
        grain = torch.randn(images.shape, generator=generator, device=device)
        return shades.to(images.device), grain.to(images.device)
