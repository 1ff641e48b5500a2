"""Upsamplers of the U-Net: twice the resolution, the encoder's tap of that resolution, bottleneck blocks."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Upsampling = Literal["transposed", "pixel_shuffle"]
Kernel = Literal[2, 3, 4]
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

    def joined(self, below: Tensor, skip: Tensor) -> Tensor:
        """``forward`` of (N*K,B,H,W) and (N,S,H,W) laid side by side, without laying them so.

        The two convolutions that read them are linear: one product with each input serves both, and that with the
        skip connection, the larger by far, serves all K classes of a picture.
        """
        first, shortcut = self.residual[0], self.shortcut
        assert isinstance(first, nn.Conv2d) and isinstance(shortcut, nn.Conv2d)
        channels = below.shape[1]
        weights = first.weight, shortcut.weight
        read = _mixed(torch.cat([w[:, :channels] for w in weights]), below)
        aside = _mixed(torch.cat([w[:, channels:] for w in weights]), skip)
        classes = below.shape[0] // skip.shape[0]
        both = (read.unflatten(0, (-1, classes)) + aside[:, None]).flatten(0, 1)
        inner, around = both.split([first.out_channels, shortcut.out_channels], 1)
        inner = inner if first.bias is None else inner + first.bias[:, None, None]
        around = around if shortcut.bias is None else around + shortcut.bias[:, None, None]
        return F.relu(self.residual[1:](inner) + around)


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
        kernel: side of the transposed convolution, which the paper does not tell: 2, as in the first U-Net, or 3 or 4,
            which overlap, have 2.25 and 4 times the weights and on a CPU take up to as many times as long.
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
        self.up = nn.Sequential(*_enlarger(channels, out, upsampling, scale, kernel))
        count = BLOCKS[upsampling] if bottlenecks is None else bottlenecks
        self.blocks = nn.Sequential(*(Bottleneck(out + skip if i == 0 else out, out) for i in range(count)))

    def forward(self, coarse: Tensor, skip: Tensor, gate: Tensor | None = None) -> Tensor:
        """Features (N*K,out,H,W) of K classes a picture.

        Args:
            coarse: (N*K,C,h,w).
            skip: (N,S,H,W).
            gate: (N,K,h,w), by which ``coarse``, then (N,C,h,w), is multiplied for each class.
        """
        x = self.up(coarse) if gate is None else self.up[1:](_gated(self.up[0], coarse, gate))
        if x.shape[-2:] != skip.shape[-2:]:
            x = F.interpolate(x, skip.shape[-2:], mode="bilinear", align_corners=False)
        first = self.blocks[0]
        assert isinstance(first, Bottleneck)
        drawn: Tensor = self.blocks[1:](first.joined(x, skip))
        return drawn

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


def _enlarger(channels: int, out: int, upsampling: Upsampling, scale: int, kernel: Kernel) -> list[nn.Module]:
    if scale == 1:
        return [_three(channels, out), nn.BatchNorm2d(out), nn.ReLU()]
    if upsampling == "transposed":
        padding, odd = (kernel - 1) // 2, kernel % 2  # twice the size, whatever the kernel
        wider = nn.ConvTranspose2d(channels, out, kernel, 2, padding, output_padding=odd, bias=False)
        return [wider, nn.BatchNorm2d(out), nn.ReLU()]
    return [
        _three(channels, 4 * out),
        nn.BatchNorm2d(4 * out),
        nn.ReLU(),
        nn.PixelShuffle(2),  # the released code has a second ReLU here, which changes nothing
    ]


def _three(channels: int, out: int) -> nn.Conv2d:
    """3x3, its weights laid out as the one matrix that ``_gated`` takes them for."""
    return nn.Conv2d(channels, out, 3, padding=1, bias=False).to(memory_format=torch.channels_last)


def _gated(conv: nn.Module, features: Tensor, gate: Tensor) -> Tensor:
    """The convolution of ``features`` (N,C,h,w) times each ``gate`` (N,K,h,w): (N*K,out,H,W).

    Each place's features are multiplied by the kernel before anything is added up. The gate is one number a place, so
    it is laid on those products, and K classes cost one multiplication with the kernel. For one class a transposed
    convolution gains for one small picture; a 3x3 one gains with many channels and loses with few and many pictures.
    """
    assert isinstance(conv, (nn.Conv2d, nn.ConvTranspose2d))
    side, stride, padding = conv.kernel_size[0], conv.stride[0], int(conv.padding[0])
    transposed = isinstance(conv, nn.ConvTranspose2d)
    # (C, out*side*side), without a copy if the layout is as _enlarger leaves it
    kernel = conv.weight.flatten(1) if transposed else conv.weight.permute(0, 2, 3, 1).flatten(0, 2).T
    products = (features.flatten(2).mT @ kernel)[:, None] * gate.flatten(2)[..., None]
    columns = products.flatten(0, 1).unflatten(2, (-1, side, side))
    if not transposed:  # what it gathers from the left it scatters to the right
        columns, stride = columns.flip(3, 4), 1
    ends = side - 2 * padding + int(conv.output_padding[0])
    height, width = (stride * (n - 1) + ends for n in features.shape[-2:])
    added = F.fold(columns.flatten(2).mT, (height, width), side, padding=padding, stride=stride)
    return added if conv.bias is None else added + conv.bias[:, None, None]


def _mixed(weight: Tensor, features: Tensor) -> Tensor:
    """The 1x1 convolution (O,C,1,1) of features (N,C,H,W), contiguous: few channels convolve fastest so on a CPU."""
    products: Tensor = (weight.flatten(1) @ features.flatten(2)).unflatten(2, features.shape[-2:])
    return products
