"""Oxford Pets' trimaps: 1 is the animal, 2 the background, 3 a border that was left open."""

from __future__ import annotations

from torch import Tensor

ANIMAL, BORDER = 1, 3


def read_trimap(values: Tensor) -> tuple[Tensor, Tensor]:
    """Foreground and pixels not to be counted, each (H,W) bool."""
    return values == ANIMAL, values == BORDER
