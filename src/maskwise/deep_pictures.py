"""Pictures of more than 8 bits: which of their values is white."""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor

from maskwise.core.alike import warn_of_first
from maskwise.core.errors import InputError

Depth = Literal["16 bits", "floats", "integers"]
# What may be white: 16 bits say it, and floats and integers of 32 bits hold one of these.
WHITE: dict[Depth, tuple[float, ...]] = {
    "16 bits": (65535.0,),
    "floats": (1.0, 255.0, 65535.0),
    "integers": (255.0, 65535.0),
}
ROUNDING = 0.005  # of white: resampling overshoots
DIM = 0.1  # of the range: a picture that uses less was hardly meant so


def to_unit_range(values: Tensor, depth: Depth, name: str, negative: bool = False) -> Tensor:
    """Values (H,W) float32 of one channel as [0,1], in place: white is the smallest of ``WHITE`` that none passes.

    Of a ``negative`` that one is black, and 0 white, as TIFFs of scanned films have it.

    Warns where they use less than a tenth of the range, by which a picture is nearly black.

    Raises:
        InputError: values that are not numbers, below 0, or above all that can be meant; it calls the picture ``name``.
    """
    low, high = map(float, values.aminmax())  # one pass; NaN anywhere makes both NaN
    if not (math.isfinite(low) and math.isfinite(high)):
        raise InputError(f"{name}: holds values that are not numbers")
    slack = ROUNDING if depth == "floats" else 0.0
    white = next((w for w in WHITE[depth] if high <= w * (1 + slack)), None)
    if white is None or low < -slack * white:
        known = ", ".join(f"0 to {w:g}" for w in WHITE[depth])
        raise InputError(f"{name}: its values go from {low:g} to {high:g}, and {known} are known: scale them")
    if 0 < high < DIM * white:
        _say(high, white, name, "white" if negative else "black")
    values.div_(white).clamp_(0, 1)
    return values.neg_().add_(1) if negative else values


def _say(high: float, white: float, name: str, looks: str) -> None:
    bits = max(int(high).bit_length(), 1)
    factor = white / high if white == 1 else white / (2**bits - 1)
    meant = "" if white == 1 else f" if {bits} bits were meant"
    warn_of_first(
        name,
        f"use less than a tenth of 0 to {white:g}" + ("" if white == 1 else f" ({bits} bits)"),
        f"{name}: uses only 0 to {high:g} of 0 to {white:g}, so it is nearly {looks}; multiply its values by "
        f"{factor:.6g}{meant}, as `magick A -evaluate multiply {factor:.6g} B` does",
    )
