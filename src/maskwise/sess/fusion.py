"""From patches back to one map, in place: calibration and fusion (Tursun et al. 2022, Eq. 1 and 2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from maskwise.sess.windows import Size, Window

Pooling = Literal["mean", "max"]


class Axis:
    """Bilinear resampling of one axis, from ``source`` to ``target`` pixels, cut to what a window touches."""

    def __init__(self, source: int, target: int, device: torch.device) -> None:
        self.source, self.target, self.device = source, target, device
        place = ((torch.arange(target, dtype=torch.float64) + 0.5) * (source / target) - 0.5).clamp(0, source - 1)
        place = place.round(decimals=9)  # a share of 1e-16 is no share, and would count as a value above zero
        self.low = place.floor().long()
        self.high = (self.low + 1).clamp(max=source - 1)
        self.share = place - self.low
        self._parts: dict[int, tuple[slice, Tensor | None]] = {}

    def part(self, start: int, side: int) -> tuple[slice, Tensor | None]:
        """Target pixels that read the window's ``side`` source pixels from ``start`` on, and their weights.

        Outside of the window lie zeros, so the weights of its outermost pixels need not sum to 1. The weights (n,side)
        are None where the pixels are taken as they are.
        """
        if start not in self._parts:
            self._parts[start] = self._part(start, side)
        return self._parts[start]

    def _part(self, start: int, side: int) -> tuple[slice, Tensor | None]:
        if self.source == self.target:
            return slice(start, start + side), None
        reads_low = (self.low >= start) & (self.low < start + side)
        reads_high = (self.high >= start) & (self.high < start + side) & (self.share > 0)
        touched = (reads_low | reads_high).nonzero()[:, 0]
        if not len(touched):  # a picture much smaller than the scale may step over a whole window
            return slice(0, 0), torch.zeros(0, side, device=self.device)
        span = slice(int(touched[0]), int(touched[-1]) + 1)
        weights = torch.zeros(span.stop - span.start, side, dtype=torch.float64)
        row = torch.arange(len(weights))
        for inside, source, share in ((reads_low, self.low, 1 - self.share), (reads_high, self.high, self.share)):
            column = (source[span] - start).clamp(0, side - 1)
            weights.index_put_((row, column), share[span] * inside[span], accumulate=True)
        return span, weights.float().to(self.device)


class Fusion:
    """One accumulator and one count at the pictures' size; patches are added as they come.

    A pixel's value is the mean (or the maximum) of those resized patches that exceed ``theta`` there; where none does
    it is 0.

    Args:
        shape: (N,K), pictures and targets.
        size: (H,W) of the pictures.
        sizes: (h,w) of every scale.
        window: (h,w) of each.
        theta: patches count where their calibrated value exceeds it.
        pool: mean, or max.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        size: Size,
        sizes: Sequence[Size],
        window: Size,
        theta: float,
        pool: Pooling,
        device: torch.device,
    ) -> None:
        self.window, self.theta, self.pool = window, theta, pool
        self.total = torch.zeros(*shape, *size, device=device)
        self.count = torch.zeros(*shape, *size, device=device, dtype=torch.int32) if pool == "mean" else None
        self.rows = [Axis(height, size[0], device) for height, _ in sizes]
        self.columns = [Axis(width, size[1], device) for _, width in sizes]

    def add(self, tile: Window, pictures: slice | Tensor, patches: Tensor) -> None:
        """Adds calibrated maps (n,K,h,w) of one window of ``pictures``."""
        rows, down = self.rows[tile.scale].part(tile.y, self.window[0])
        columns, across = self.columns[tile.scale].part(tile.x, self.window[1])
        patches = patches if down is None else down @ patches
        patches = patches if across is None else patches @ across.T
        place = (pictures, slice(None), rows, columns)
        hit = patches > self.theta
        if self.count is None:
            self.total[place] = torch.maximum(self.total[place], torch.where(hit, patches, 0))
            return
        # A product, since NaN x 0 is NaN: where the released code's NaN falls it makes a hole, as there.
        self.total[place] += patches * hit
        self.count[place] += hit

    def result(self) -> Tensor:
        """Maps (N,K,H,W)."""
        if self.count is not None:
            self.total /= self.count.clamp(min=1)
        return self.total.nan_to_num_(0.0)
