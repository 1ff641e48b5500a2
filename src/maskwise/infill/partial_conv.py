"""A small network of partial convolutions (Liu et al. 2018), trained by us: the neural infiller that works offline."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib import resources
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.core.options import in_range
from maskwise.infill.base import Infiller, infillers
from maskwise.infill.pyramid import smooth_fill
from maskwise.infill.size import working_size
from maskwise.infill.weights import with_weights

PACKAGED = Path(str(resources.files("maskwise") / "assets" / "infillers" / "partial_conv.safetensors"))
ADVICE = "give an infiller.safetensors that `maskwise train infiller` wrote"
WIDTHS = (24, 48, 72, 96, 96, 96)
NOTHING = 1e-6  # share of a window below which it counts as unseen


@infillers.register("partial_conv", source="after Liu et al. 2018", network=True, surroundings=True)
@dataclass(frozen=True)
class PartialConvInfiller(Infiller):
    """A U-Net of partial convolutions that paints detail over a smooth fill.

    A soft hole hides in proportion: a pixel counts with weight 1 - hole wherever pixels are averaged or convolved.
    So a hole that is nowhere 1 hides nothing from the network for good, just as it does not in the picture itself;
    cut the holes first where that matters.

    Attributes:
        weights: .safetensors written by ``maskwise train infiller``; None is the packaged network.
        largest: longer side in pixels above which a picture is shrunk (known pixels alone are averaged) and its fill
            enlarged; the packaged network was trained on small pictures.
    """

    rgb_only: ClassVar[bool] = True
    weights: str | Path | None = None
    largest: int = 256

    def __post_init__(self) -> None:
        in_range("partial_conv's largest", self.largest, 1)

    def load(self) -> None:
        self.network  # noqa: B018

    @cached_property
    def network(self) -> PartialConvNet:
        return with_weights(PartialConvNet, PACKAGED if self.weights is None else self.weights, "partial_conv", ADVICE)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        network = self.network.to(images.device)
        size = (images.shape[-2], images.shape[-1])
        work = working_size(size, self.largest)
        valid = 1 - holes
        if work != size:
            known = F.interpolate(images * valid, work, mode="bilinear", align_corners=False, antialias=True)
            valid = F.interpolate(valid, work, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)
            images = known / valid.clamp(min=NOTHING)
        painted = network(images, valid, colour).clamp(0, 1)
        return painted if work == size else F.interpolate(painted, size, mode="bilinear", align_corners=False)


class PartialConv(nn.Module):
    """A convolution that sees known pixels only and scales its sum by how much it saw (Liu et al., Eq. 1 and 2).

    out = W * (x v) / share + b, where share is the mean of v in the window; what comes out is known by
    min(1, sum of v). With v in {0,1} these are the paper's equations. Beyond the border nothing is known.

    Args:
        inputs: channels of each part; parts, as a decoder's two, are known differently.
    """

    def __init__(self, inputs: tuple[int, ...], outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.inputs, self.kernel, self.stride = inputs, kernel, stride
        self.conv = nn.Conv2d(sum(inputs), outputs, kernel, stride, kernel // 2, bias=False)
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))

    def forward(self, *parts: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Features (N,C,h,w) and known (N,1,h,w) of such pairs, one a part."""
        seen = [F.avg_pool2d(v, self.kernel, self.stride, self.kernel // 2) for _, v in parts]
        share = torch.stack([c * s for c, s in zip(self.inputs, seen, strict=True)]).sum(0) / sum(self.inputs)
        out = self.conv(torch.cat([x * v for x, v in parts], 1)) / share.clamp(min=NOTHING) + self.bias
        known = torch.stack(seen).sum(0) * self.kernel**2
        return out, known.clamp(max=1)


class PartialConvNet(nn.Module):
    """Encoder and decoder of partial convolutions, which add detail to a smooth fill where pixels are missing.

    Beyond Liu et al. each step of the decoder sees the smooth fill, too: what it adds depends on what is there.
    Any size: each level is half the one above, rounded up, and enlarged to just that.
    """

    def __init__(self, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        channels = (3, *widths)
        pairs = list(zip(channels, widths, strict=False))
        self.down = nn.ModuleList(PartialConv((a,), b, 5 if a == 3 else 3, 2) for a, b in pairs)
        self.down_norm = nn.ModuleList(nn.BatchNorm2d(b) for b in widths)
        self.up = nn.ModuleList(PartialConv((b, a, 3), a, 3) for a, b in pairs)
        self.up_norm = nn.ModuleList(nn.BatchNorm2d(a) for a in channels[1:-1])
        nn.init.zeros_(self.get_parameter("up.0.conv.weight"))  # the first step starts from the smooth fill

    def forward(self, images: Tensor, valid: Tensor, colour: Tensor) -> Tensor:
        """Pictures (N,3,H,W), not cut to [0,1].

        Args:
            images: (N,3,H,W) in [0,1]; what is not valid is not looked at.
            valid: (N,1,H,W) in [0,1], 1 = known.
            colour: (1,3,1,1), for pictures of which nothing is known.
        """
        smooth = smooth_fill(images, valid, colour)
        anything = (valid.amax((2, 3), keepdim=True) > 0).to(valid)
        scales = [(2 * images - 1, valid)]
        for convolve, norm in zip(self.down, self.down_norm, strict=True):
            x, known = convolve(scales[-1])
            scales.append((F.relu(norm(x)), known))
        x, known = scales.pop()
        for i in reversed(range(len(self.up))):
            size = height, width = scales[i][0].shape[-2], scales[i][0].shape[-1]
            x, known = F.interpolate(x, size, mode="nearest"), F.interpolate(known, size, mode="nearest")
            coarse = F.adaptive_avg_pool2d(2 * smooth - 1, (height, width)), anything.expand(-1, -1, *size)
            x, known = self.up[i]((x, known), scales[i], coarse)
            if i:
                x = F.leaky_relu(self.up_norm[i - 1](x), 0.2)
        filled: Tensor = smooth + x * known * (1 - valid)
        return filled
