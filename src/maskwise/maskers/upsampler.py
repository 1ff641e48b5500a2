"""Upsamplers of the U-Net: twice the resolution, the encoder's tap of that resolution, bottleneck blocks."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Upsampling = Literal["transposed", "pixel_shuffle"]
Kernel = Literal[2, 4]
BLOCKS: dict[Upsampling, int] = {"transposed": 3, "pixel_shuffle": 1}  # paper, released code


class Bottleneck(nn.Module):
    """ReLU(f(x) + x), f = 1x1, 3x3, 1x1 convolution through a quarter of the channels (He et al. 2016).

    Where the channels differ, x goes through a 1x1 convolution with a bias, as in the released code.
    """

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        inner = max(out // 4, 1)
        self.residual = nn.Sequential(
            nn.Conv2d(channels, inner, 1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, inner, 3, padding=1, bias=False),
            nn.BatchNorm2d(inner),
            nn.ReLU(),
            nn.Conv2d(inner, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut = nn.Identity() if channels == out else nn.Conv2d(channels, out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.residual(x) + self.shortcut(x))


class Upsampler(nn.Module):
    """Coarse features (N,C,h,w) and a finer tap (N,S,H,W) to (N,out,H,W).

    Args:
        channels: C of the coarse features.
        skip: S of the tap.
        out: channels that leave.
        upsampling: ``transposed`` convolution (stride 2) and three bottlenecks (the paper), or ``pixel_shuffle``
            after a 3x3 convolution and one bottleneck (released code).
        scale: 2, or 1 where the tap is no finer, as in a plain ViT. What is then missing to the tap's own size
            (an odd one, say) is interpolated.
        bottlenecks: how many; None is the reading's own number.
        kernel: side of the transposed convolution, which the paper does not tell: 2, as in the first U-Net, or 4, which
            overlaps, has four times the weights and on a CPU takes up to four times as long.
    """

    def __init__(
        self,
        channels: int,
        skip: int,
        out: int,
        upsampling: Upsampling = "transposed",
        scale: int = 2,
        bottlenecks: int | None = None,
        kernel: Kernel = 2,
    ) -> None:
        super().__init__()
        self.out = out
        self.up = _enlarger(channels, out, upsampling, scale, kernel)
        count = BLOCKS[upsampling] if bottlenecks is None else bottlenecks
        self.blocks = nn.Sequential(*(Bottleneck(out + skip if i == 0 else out, out) for i in range(count)))

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        x = self.up(coarse)
        if x.shape[-2:] != skip.shape[-2:]:
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.blocks(torch.cat([x, skip], 1))

    @torch.no_grad()
    def quieten_skip(self, gain: float) -> None:
        """Multiplies what reads the tap by ``gain``.

        A tap has more channels and larger values than what comes from below, which alone knows the class. With its
        first weights as they come, masks begin as outlines of everything and need thousands of steps to unlearn them.
        """
        first = self.blocks[0]
        assert isinstance(first, Bottleneck)
        for reader in (first.residual[0], first.shortcut):
            if isinstance(reader, nn.Conv2d):
                reader.weight[:, self.out :] *= gain


def _enlarger(channels: int, out: int, upsampling: Upsampling, scale: int, kernel: Kernel) -> nn.Module:
    if scale == 1:
        return nn.Sequential(nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU())
    if upsampling == "transposed":
        wider = nn.ConvTranspose2d(channels, out, kernel, stride=2, padding=kernel // 2 - 1, bias=False)
        return nn.Sequential(wider, nn.BatchNorm2d(out), nn.ReLU())
    return nn.Sequential(
        nn.Conv2d(channels, 4 * out, 3, padding=1, bias=False),
        nn.BatchNorm2d(4 * out),
        nn.ReLU(),
        nn.PixelShuffle(2),  # the released code has a second ReLU here, which changes nothing
    )
