"""Which value of a map gets which colour: as it is, or stretched so that the eye sees something.

Maps of the gradient family peak in a handful of pixels and look black beside them. Stretching changes what is drawn
and nothing else: maps in memory and in files stay as they are, and whatever is drawn says its scale.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib import colormaps
from torch import Tensor

from maskwise.core.errors import InputError

PERCENTILE = 99.0
# ``auto`` stretches where less than this share of pixels lies above a quarter of the scale: see docs/methods.md.
FEW, QUARTER = 0.04, 0.25
SAMPLE = 1 << 22  # pixels that are looked at, evenly spread: a percentile of more takes seconds


@dataclass(frozen=True)
class HeatScale:
    """The values at both ends of the colours.

    Attributes:
        high: drawn as the last colour, as is all above it.
        signed: is the first colour ``-high``, with no colour at 0? Otherwise it is 0.
        why: what ``high`` is, where it isn't the map's own end: ``99th percentile``.
    """

    high: float = 1.0
    signed: bool = False
    why: str = ""

    @property
    def low(self) -> float:
        return -self.high if self.signed else 0.0

    def shares(self, saliency: Tensor) -> np.ndarray:
        """Where each value of a map (…) lies between both ends, in [0,1]."""
        values = saliency.detach().cpu().float().numpy()
        found: np.ndarray = np.clip((values - self.low) / (self.high - self.low), 0, 1)
        return found

    def colours(self, saliency: Tensor) -> np.ndarray:
        """(…,3) in [0,1], the colours of a map (…)."""
        return self._painted(self.shares(saliency))

    def bar(self, steps: int = 256) -> np.ndarray:
        """(steps,3) in [0,1]: the colours from the low end to the high one."""
        return self._painted(np.linspace(0, 1, steps))

    def _painted(self, shares: np.ndarray) -> np.ndarray:
        found: np.ndarray = colormaps["RdBu_r" if self.signed else "inferno"](shares)[..., :3]
        return found

    @property
    def ends(self) -> tuple[str, str]:
        """Both ends, as a colour bar has them."""
        return f"{self.low:.2g}", f"{self.high:.2g}"

    def __str__(self) -> str:
        low, high = self.ends
        return f"{low} to {high}" + (f" ({self.why})" if self.why else "")


RAW = HeatScale()


def check_display(display: str) -> float | None:
    """The percentile that ``display`` names; None for ``raw`` and ``auto``.

    Raises:
        InputError: it is none of ``auto``, ``raw``, ``percentile P`` with 0 < P <= 100.
    """
    if display in ("auto", "raw"):
        return None
    word, _, number = display.strip().partition(" ")
    try:
        percentile = float(number)
    except ValueError:
        percentile = np.nan
    if word != "percentile" or not 0 < percentile <= 100:
        raise InputError(
            f"`display` is auto, raw or 'percentile P' with P above 0 and at most 100, not {display!r}"
        ) from None
    return percentile


def heat_scale(saliency: Tensor, display: str = "auto") -> HeatScale:
    """The colours of one map.

    Args:
        saliency: (H,W), in [0,1], or in [-1,1] where signs mean something: such a map gets two colours around 0.
        display: ``raw``: from 0 to 1; ``percentile P``: from 0 to the P-th percentile of the map's values (of their
            sizes, where it has signs); ``auto``: the 99th where less than 4% of the pixels lie above a quarter of
            the scale, else raw.

    Raises:
        InputError: an unknown ``display``.

    Example:
        >>> import torch
        >>> thin = torch.zeros(20, 20)
        >>> thin[3, :8] = 0.1
        >>> thin[3, 3] = 1
        >>> str(heat_scale(thin)), str(heat_scale(thin, "raw"))
        ('0 to 0.1 (99th percentile)', '0 to 1')
    """
    percentile = check_display(display)
    values = saliency.detach().float().flatten().cpu().numpy()
    values = values[:: max(len(values) // SAMPLE, 1)]
    signed = bool((values < 0).any())
    sizes = np.abs(values)
    if display == "raw" or (display == "auto" and (sizes > QUARTER).mean() >= FEW):
        return HeatScale(signed=signed)
    percentile = PERCENTILE if percentile is None else percentile
    high, why = float(np.percentile(sizes, percentile)), f"{_ordinal(percentile)} percentile"
    if high <= 0:  # hardly any pixel isn't 0
        high, why = float(sizes.max()), "highest value"
    return HeatScale(high, signed, why) if 0 < high < 1 else HeatScale(signed=signed)


def _ordinal(number: float) -> str:
    """99 as 99th, 1 as 1st, 99.5 as 99.5th."""
    whole = f"{number:g}"
    if "." in whole or whole[-2:] in ("11", "12", "13"):
        return f"{whole}th"
    return whole + {"1": "st", "2": "nd", "3": "rd"}.get(whole[-1], "th")
