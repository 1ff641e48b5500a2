"""CASM's decoder: from a classifier's taps to one mask (Zolna, Geras, Cho 2020, supplement)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FirstTap = Literal["raw", "projected"]


class Decoder(nn.Module):
    """Taps [(N,C,h,w), …] to mask logits (N,H/4,W/4).

    Each tap is projected to ``width`` channels (1x1 convolution, batch norm, ReLU), brought to a quarter of the
    input size, and all are read together by one 3x3 convolution. A tap finer than that grid is first pooled as a
    ResNet's stem pools (3x3, stride 2), so on a ResNet-50 the first tap is exactly the paper's.

    Args:
        channels: of each tap, fine to coarse.
        first_tap: ``projected`` like the others (the paper), or ``raw``, concatenated as it is (released code).
        width: channels of a projected tap.
        head_std: of the last convolution's first weights; None is the paper's, 0.47 for a 3x3 convolution. That one
            starts with saturated masks of noise, which take tens of thousands of steps to unlearn; a small one
            starts with a grey mask.
    """

    def __init__(
        self,
        channels: Sequence[int],
        first_tap: FirstTap = "projected",
        width: int = 64,
        head_std: float | None = None,
    ) -> None:
        super().__init__()
        raw = [first_tap == "raw" and i == 0 and len(channels) > 1 for i in range(len(channels))]
        self.projections = nn.ModuleList(
            nn.Identity()
            if as_is
            else nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU())
            for c, as_is in zip(channels, raw, strict=True)
        )
        read = sum(c if as_is else width for c, as_is in zip(channels, raw, strict=True))
        self.head = nn.Conv2d(read, 1, 3, padding=1)
        for conv in self.modules():
            if isinstance(conv, nn.Conv2d):
                area = conv.kernel_size[0] * conv.kernel_size[1]
                nn.init.normal_(conv.weight, 0.0, math.sqrt(2 / (area * conv.out_channels)))
        if head_std is not None:
            nn.init.normal_(self.head.weight, 0.0, head_std)
            nn.init.zeros_(cast(Tensor, self.head.bias))

    def forward(self, taps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Mask logits on the quarter grid of an input of ``size`` (H,W).

        The last convolution is spread over the taps: each weighs its channels for the nine places of the kernel where
        it is, at its own size, and only these nine are enlarged, instead of all its channels; then the places are
        shifted and added up. All of this is linear, so it is the same convolution.
        """
        grid = (max(size[0] // 4, 1), max(size[1] // 4, 1))
        places: Tensor | None = None
        first = 0
        for tap, project in zip(taps, self.projections, strict=True):
            projected = project(pooled(tap, grid))
            channels = projected.shape[1]
            weight = self.head.weight[0, first : first + channels].flatten(1).T  # (9,C)
            weighed = F.conv2d(projected, weight[:, :, None, None])
            if weighed.shape[-2:] != grid:
                weighed = F.interpolate(weighed, grid, mode="bilinear", align_corners=False)
            places = weighed if places is None else places + weighed
            first += channels
        assert places is not None
        return added_up(places) + cast(Tensor, self.head.bias)


def pooled(tap: Tensor, grid: tuple[int, int]) -> Tensor:
    """A tap (N,C,h,w) that is finer than the grid, pooled as a ResNet's stem pools until it is not."""
    while tap.shape[-2] >= 2 * grid[0] and tap.shape[-1] >= 2 * grid[1]:
        tap = F.max_pool2d(tap, 3, stride=2, padding=1)
    return tap


def readable_by(network: nn.Module, taps: Sequence[Tensor]) -> list[Tensor]:
    """Taps in the type of the network's weights, where their own is another one: of a classifier in half precision.

    Under autocast, which casts what each layer reads, they stay as they are.
    """
    kind = next((weight.dtype for weight in network.parameters()), torch.float32)
    return [tap if torch.is_autocast_enabled(tap.device.type) else tap.to(kind) for tap in taps]


def added_up(places: Tensor) -> Tensor:
    """What a 3x3 convolution adds up: (N,9,H,W), by row and column of the kernel, to (N,H,W); zeros lie outside."""
    height, width = places.shape[-2:]
    padded = F.pad(places, (1, 1, 1, 1))
    parts = [padded[:, 3 * y + x, y : y + height, x : x + width] for y in range(3) for x in range(3)]
    return torch.stack(parts).sum(0)
