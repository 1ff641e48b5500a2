"""The U-Net of Dabkowski & Gal (2017, section 4.1): from taps and a named class to that class's mask."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.maskers.feature_filter import FeatureFilter
from maskwise.maskers.upsampler import Kernel, Upsampler, Upsampling

WIDTHS = (256, 128, 64)  # channels that leave each upsampler, for a ResNet-50
TINY = 1e-6


def ratio(pair: Tensor) -> Tensor:
    """M = |C0| / (|C0| + |C1|): (N,h,w) of (N,2,h,w), in float32.

    The quotient alone is 0/0 where both channels vanish; here it goes to 1/2, and its gradient stays finite.

    Example:
        >>> import torch
        >>> ratio(torch.tensor([[[[-3.0, 0.0, 0.0]], [[1.0, 2.0, 0.0]]]])).round(decimals=3)
        tensor([[[0.7500, 0.0000, 0.5000]]])
    """
    first, second = pair.float().abs().unbind(1)
    return (first + TINY / 2) / (first + second + TINY)


class UNet(nn.Module):
    """Taps [(N,C,h,w), …] and classes (N,K) to masks (N,K,H,W).

    Args:
        channels: of each tap, fine to coarse; the coarsest is filtered, the others are skip connections.
        scales: of each upsampler, coarse to fine: 2, or 1 between taps of one size.
        classes: how many there are.
        widths: channels that leave each upsampler, coarse to fine.
        upsampling, bottlenecks, kernel: as ``Upsampler``.
    """

    def __init__(
        self,
        channels: Sequence[int],
        scales: Sequence[int],
        classes: int,
        widths: Sequence[int] = WIDTHS,
        upsampling: Upsampling = "transposed",
        bottlenecks: int | None = None,
        kernel: Kernel = 2,
    ) -> None:
        super().__init__()
        self.filter = FeatureFilter(channels[-1], classes)
        into = [channels[-1], *widths]
        self.upsamplers = nn.ModuleList(
            Upsampler(c, skip, out, upsampling, scale, bottlenecks, kernel)
            for c, skip, out, scale in zip(into, channels[-2::-1], widths, scales, strict=False)
        )
        self.head = nn.Conv2d(into[len(self.upsamplers)], 2, 1)

    def forward(
        self, taps: Sequence[Tensor], classes: Tensor, size: tuple[int, int], confidence: float = 0.0
    ) -> Tensor:
        """Masks at ``size`` (H,W), bilinear from the grid of the finest tap; arguments as ``FeatureFilter``."""
        x = taps[-1]
        gate: Tensor | None = self.filter.gate(x, classes, confidence)
        if not self.upsamplers:
            x = self.filter(x, classes, confidence).flatten(0, 1)
        for upsampler, skip in zip(self.upsamplers, reversed(taps[:-1]), strict=True):
            x, gate = upsampler(x, skip, gate), None
        masks = F.interpolate(ratio(self.head(x))[:, None], size, mode="bilinear", align_corners=False)
        by_class: Tensor = masks[:, 0].unflatten(0, (-1, classes.shape[1]))
        return by_class
