"""DFNet: an encoder-decoder; its last step fuses what it painted with the picture (Hong et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.core.errors import InputError
from maskwise.core.options import in_range
from maskwise.infill.base import Infiller, infillers
from maskwise.infill.weights import with_weights

ENCODER = ((7, 64), (5, 128), (5, 256), (3, 512), (3, 512), (3, 512), (3, 512), (3, 512))  # kernel, channels
FUSED = 6  # scales, from the finest, that have a fusion block
ADVICE = "give model_places2.pth of the authors' repository hughplay/DFNet"


@infillers.register(
    "dfnet", source="Hong et al. 2019, as Phang et al. 2020 use it", network=True, needs_weights=True, surroundings=True
)
@dataclass(frozen=True)
class DFNetInfiller(Infiller):
    """DFNet at 256x256, squashed to it and back bilinearly (align_corners=True, as in Phang et al.'s code).

    The network wants pictures in [0,1], blank in the hole, and a mask that is 1 where a pixel is *kept*; soft holes
    are handed over as they are. Phang et al.'s code laid the masked-in picture over the network's result wherever
    the mask was small, so that masked-in pictures got a black hole; here the result itself is the fill.

    Names and shapes of all weights are those of the authors' ``model.py``, compared by reading; their file could not
    be loaded where this was written.

    Attributes:
        weights: file of the published weights, .pth or .safetensors.
        size: side the network works at, a multiple of 256.
    """

    rgb_only: ClassVar[bool] = True
    weights: str | Path | None = None
    size: int = 256

    def __post_init__(self) -> None:
        in_range("dfnet's size", self.size, 256)
        if self.size % 256:
            raise InputError(f"dfnet's size must be a multiple of 256, not {self.size}")

    def load(self) -> None:
        self.network  # noqa: B018

    @cached_property
    def network(self) -> DFNet:
        return with_weights(DFNet, self.weights, "dfnet", ADVICE)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        network = self.network.to(images.device)
        size = (images.shape[-2], images.shape[-1])
        kept = _resized(1 - holes, (self.size, self.size))
        blank = _resized(images * (1 - holes), (self.size, self.size))
        return _resized(network(blank, kept), size).clamp(0, 1)


def _resized(images: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(images, size, mode="bilinear", align_corners=True)


class DFNet(nn.Module):
    """The network; its attributes are called as in the published files."""

    def __init__(self) -> None:
        super().__init__()
        widths = (4, *(channels for _, channels in ENCODER))
        for i, (kernel, channels) in enumerate(ENCODER):
            self.add_module(f"en_{i}", Encode(widths[i], channels, kernel, normalised=i > 0))
        above = widths[-1]
        for i in reversed(range(len(ENCODER))):
            self.add_module(f"de_{i}", Decode(above + widths[i], widths[i]))
            above = widths[i]
        for i in range(FUSED):
            self.add_module(f"fuse_{i}", Fuse(widths[i]))

    def forward(self, blank: Tensor, kept: Tensor) -> Tensor:
        """The finest result (N,3,S,S) in [0,1]; the coarser ones serve training only.

        Args:
            blank: (N,3,S,S) in [0,1], zero where a pixel is missing; S is a multiple of 256.
            kept: (N,1,S,S), 1 = kept.
        """
        scales = [torch.cat([blank, kept], 1)]
        for i in range(len(ENCODER)):
            scales.append(self.get_submodule(f"en_{i}")(scales[-1]))
        features = scales.pop()
        for i in reversed(range(len(ENCODER))):
            larger = F.interpolate(features, scale_factor=2, mode="nearest")
            features = self.get_submodule(f"de_{i}")(torch.cat([larger, scales[i]], 1))
        result: Tensor = self.get_submodule("fuse_0")(blank, features)
        return result


class SameConv(nn.Module):
    """A convolution that divides the size by its stride exactly; an odd rest is padded on the right and below."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        left, odd = divmod(kernel - stride, 2)
        if odd:
            pad = nn.ZeroPad2d((left, left + 1, left, left + 1))
            self.conv: nn.Module = nn.Sequential(pad, nn.Conv2d(inputs, outputs, kernel, stride))
        else:
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, left)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class Encode(nn.Module):
    """Half the size: convolution, batch norm, ReLU; the first is a convolution alone."""

    def __init__(self, inputs: int, outputs: int, kernel: int, normalised: bool) -> None:
        super().__init__()
        after = [nn.BatchNorm2d(outputs), nn.ReLU()] if normalised else []
        self.encode = nn.Sequential(SameConv(inputs, outputs, kernel, 2), *after)

    def forward(self, x: Tensor) -> Tensor:
        return self.encode(x)  # type: ignore[no-any-return]


class Decode(nn.Module):
    """Convolution, batch norm, leaky ReLU of the coarser features, enlarged, beside the encoder's."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.decode = nn.Sequential(SameConv(inputs, outputs, 3), nn.BatchNorm2d(outputs), nn.LeakyReLU(0.2))

    def forward(self, x: Tensor) -> Tensor:
        return self.decode(x)  # type: ignore[no-any-return]


class Fuse(nn.Module):
    """The fusion block: features become a picture, and a map a channel says how much of it is laid over the given."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.map2img = nn.Sequential(SameConv(features, 3, 1), nn.Sigmoid())
        self.blend = Blend()

    def forward(self, blank: Tensor, features: Tensor) -> Tensor:
        painted = self.map2img(features)
        alpha = self.blend(torch.cat([blank, painted], 1))
        return alpha * painted + (1 - alpha) * blank  # type: ignore[no-any-return]


class Blend(nn.Module):
    """Both pictures (N,6,S,S) to alpha (N,3,S,S)."""

    def __init__(self) -> None:
        super().__init__()
        self.blend = nn.Sequential(
            SameConv(6, 32, 1), nn.BatchNorm2d(32), nn.LeakyReLU(0.2),
            SameConv(32, 3, 3), nn.BatchNorm2d(3), nn.LeakyReLU(0.2),
            SameConv(3, 3, 1), nn.Sigmoid(),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.blend(x)  # type: ignore[no-any-return]
