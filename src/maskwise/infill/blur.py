"""The picture itself, blurred beyond recognition."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from maskwise.core.blur import gaussian_blur
from maskwise.core.options import in_range
from maskwise.infill.base import Infiller, infillers

LARGEST = 1000  # pixels: more is one colour for any picture, and a kernel that fills the memory


@infillers.register("blur", source="Phang et al. 2020, 4.3", reads_hole=True)
@dataclass(frozen=True)
class Blur(Infiller):
    """Gaussian blur of the whole picture, hidden pixels too; outside the picture lies the mean colour.

    Zero padding of the normalised picture is the mean colour in pixel space, and so the classifier's deviation
    plays no part.

    Attributes:
        sigma: standard deviation in pixels, at most 1,000.
        reach: half-width of the kernel in pixels; None is ceil(4 sigma).
    """

    sigma: float = 20.0
    reach: int | None = None

    def __post_init__(self) -> None:
        in_range("blur's sigma", self.sigma, 0, LARGEST, above=True)
        in_range("blur's reach", self.reach or 0, 0, 4 * LARGEST)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        reach = math.ceil(4 * self.sigma) if self.reach is None else self.reach
        return gaussian_blur(images - colour, self.sigma, "zero", reach) + colour
