"""Noisy linear imputation: what is smooth between the pixels around the hole, and a little noise (Rong et al. 2022)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.core.keyed import keyed_generator
from maskwise.core.options import in_range
from maskwise.infill.base import Infiller, infillers
from maskwise.infill.grid_laplacian import hole_system


@infillers.register("noisy_linear", source="Rong et al. 2022 (ROAD)", surroundings=True)
@dataclass(frozen=True)
class NoisyLinear(Infiller):
    """Each missing pixel is the weighted mean of its eight neighbours, missing ones included, plus N(0, noise).

    Weights are 1/6 straight and 1/12 diagonal; see ``HoleSystem``. The noise hides the smoothness that would give the
    shape of the hole away; it is added in [0,1], as the authors do, and belongs to the known pixels of its channel and
    the seed. Holes are cut at 0.5. A hole that is the whole picture takes the mean colour.

    Attributes:
        noise: standard deviation, per pixel and channel.
        seed: of the noise.
        largest: longer side in pixels above which the system is solved on square blocks of pixels, each the mean of
            its known ones, and the fill enlarged: 112 takes a fifth of the time that 224 takes.
    """

    noise: float = 0.01
    seed: int = 0
    largest: int = 112

    def __post_init__(self) -> None:
        in_range("noisy_linear's noise", self.noise, 0)
        in_range("noisy_linear's seed", self.seed, 0)
        in_range("noisy_linear's largest", self.largest, 1)

    def drawn(self, draw: int) -> NoisyLinear:
        return replace(self, seed=self.seed + draw) if self.noise else self

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        hard = holes > 0.5
        known = images * ~hard
        block = math.ceil(max(images.shape[-2:]) / self.largest)
        filled = [self._one(*of, colour[0], block) for of in zip(known, hard, strict=True)]
        return torch.where(hard, torch.stack(filled), images)

    def _one(self, known: Tensor, hole: Tensor, colour: Tensor, block: int) -> Tensor:
        """(C,H,W) of one picture whose missing pixels are black, with a hole (1,H,W)."""
        if hole.all():
            return colour.expand_as(known)
        if not hole.any():
            return known
        smooth = linear_fill(known, hole, block)
        if self.noise:
            # By channel, so that a channel's fill doesn't depend on which others there are.
            noise = [torch.randn(band.shape, generator=keyed_generator(band, self.seed)) for band in known]
            smooth = smooth + self.noise * torch.stack(noise).to(smooth)
        return smooth.clamp(0, 1)


def linear_fill(known: Tensor, hole: Tensor, block: int = 1) -> Tensor:
    """The picture (C,H,W) whose missing pixels solve ``HoleSystem``'s equations, in float64 inside.

    Args:
        known: (C,H,W), 0 where the hole is.
        hole: (1,H,W) bool, neither empty nor everything.
        block: pixels a side that are one unknown.
    """
    if block > 1:
        sums, counts = (F.avg_pool2d(x[None].double(), block, ceil_mode=True)[0] for x in (known, ~hole))
        pixels, missing = sums / torch.where(counts > 0, counts, 1.0), counts == 0
    else:
        pixels, missing = known.double(), hole
    height, width = missing.shape[-2:]
    values = pixels.flatten(1).T.cpu().numpy().copy()
    empty = missing[0].cpu().numpy()
    if empty.any():
        system = hole_system(empty)
        values[system.hole] = system.solve(values)
    filled = torch.from_numpy(np.ascontiguousarray(values.T)).reshape(-1, height, width)
    if block > 1:
        larger = (height * block, width * block)
        filled = F.interpolate(filled[None], larger, mode="bilinear", align_corners=False)[0]
        filled = filled[:, : known.shape[1], : known.shape[2]]
    return filled.to(known)
