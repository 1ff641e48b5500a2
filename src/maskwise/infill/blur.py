"""The picture itself, blurred beyond recognition."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.infill.base import Infiller, check_number, register


@register("blur", source="Phang et al. 2020, 4.3", reads_hole=True)
@dataclass(frozen=True)
class Blur(Infiller):
    """Gaussian blur of the whole picture, hidden pixels too; outside the picture lies the mean colour.

    Zero padding of the normalised picture is the mean colour in pixel space, and so the classifier's deviation
    plays no part.

    Attributes:
        sigma: standard deviation in pixels.
        reach: half-width of the kernel in pixels; None is ceil(4 sigma).
    """

    sigma: float = 20.0
    reach: int | None = None

    def __post_init__(self) -> None:
        check_number("blur's sigma", self.sigma, 0, above=True)
        check_number("blur's reach", self.reach or 0, 0)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        reach = math.ceil(4 * self.sigma) if self.reach is None else self.reach
        rows, columns = (band(side, self.sigma, reach, images.device) for side in images.shape[-2:])
        return rows @ (images - colour) @ columns + colour


def band(side: int, sigma: float, reach: int, device: torch.device) -> Tensor:
    """The blur of one axis as a symmetric matrix (side,side).

    Half-width 80 makes two dense matrix products many times quicker on a CPU than two convolutions.
    """
    offsets = torch.arange(-reach, reach + 1, device=device, dtype=torch.float32)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), 0)
    places = torch.arange(side, device=device)
    distance = places[:, None] - places
    return torch.where(distance.abs() <= reach, kernel[distance.clamp(-reach, reach) + reach], 0.0)
