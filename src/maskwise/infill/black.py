"""Black, which some evaluations delete with."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.infill.base import Infiller, infillers


@infillers.register("black", source="Chattopadhay et al. 2018, and evaluations by multiplication")
@dataclass(frozen=True)
class Black(Infiller):
    """Zeros everywhere: what multiplying a picture in [0,1] by a mask leaves in its hole."""

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        return torch.zeros_like(images)
