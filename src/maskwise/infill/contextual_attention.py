"""The two-stage network with contextual attention of Yu et al. 2018."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.core.options import in_range
from maskwise.infill.attention import contextual_attention
from maskwise.infill.base import Infiller, infillers
from maskwise.infill.size import working_size
from maskwise.infill.weights import with_weights

ADVICE = "give a generator's file (gen_….pt) of the PyTorch port daa233/generative-inpainting-pytorch"
WIDTH = 32  # "ngf" of the port


@infillers.register(
    "contextual_attention",
    source="Yu et al. 2018, as Phang et al. 2020 use it",
    network=True,
    needs_weights=True,
    surroundings=True,
)
@dataclass(frozen=True)
class ContextualAttention(Infiller):
    """The second stage's picture, at the picture's own size up to ``largest``, rounded to a multiple of 8.

    The network wants pictures in [-1,1], zero in the hole, and the hole, 1 = missing, for masked-out and masked-in
    pictures alike. Phang et al.'s code handed over the mask itself for both, which is the hole upside down where a
    picture is masked in. Soft holes are handed over as they are.

    Names and shapes of all weights are those of the port's ``model/networks.py`` with its five input channels,
    compared by reading; its file could not be loaded where this was written.

    Attributes:
        weights: file of the published generator, .pt, .pth or .safetensors.
        largest: longer side, in pixels, above which a picture is shrunk: attention compares all patches with all.
    """

    rgb_only: ClassVar[bool] = True
    weights: str | Path | None = None
    largest: int = 512

    def __post_init__(self) -> None:
        in_range("contextual_attention's largest", self.largest, 8)

    def load(self) -> None:
        self.network  # noqa: B018

    @cached_property
    def network(self) -> TwoStage:
        return with_weights(TwoStage, self.weights, "contextual_attention", ADVICE)

    def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
        network = self.network.to(images.device)
        size = (images.shape[-2], images.shape[-1])
        work = working_size(size, self.largest, 8)
        blank = (2 * images - 1) * (1 - holes)
        if work != size:
            blank, holes = (F.interpolate(x, work, mode="bilinear", align_corners=False) for x in (blank, holes))
        painted = (network(blank, holes) + 1) / 2
        return painted if work == size else F.interpolate(painted, size, mode="bilinear", align_corners=False)


class TwoStage(nn.Module):
    """A coarse network paints, a fine one with an attention branch paints over; named as in the published files."""

    def __init__(self, width: int = WIDTH) -> None:
        super().__init__()
        self.coarse_generator = Coarse(width)
        self.fine_generator = Fine(width)

    def forward(self, blank: Tensor, holes: Tensor) -> Tensor:
        """The fine picture (N,3,H,W) in [-1,1] of blank (N,3,H,W) in [-1,1] and holes (N,1,H,W), 1 = missing."""
        coarse = self.coarse_generator(blank, holes)
        painted: Tensor = self.fine_generator(coarse * holes + blank * (1 - holes), holes)
        return painted


class Convolutions(nn.Module):
    """Named convolutions with ELU after each that has no other activation."""

    def add(self, name: str, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, rate: int = 1) -> None:
        self.add_module(name, Named(nn.Conv2d(inputs, outputs, kernel, stride, rate * (kernel // 2), rate)))

    def conv(self, x: Tensor, name: str) -> Tensor:
        return self.get_submodule(name)(x)  # type: ignore[no-any-return]

    def run(self, x: Tensor, *names: str) -> Tensor:
        for name in names:
            x = F.elu(self.conv(x, name))
        return x

    def add_body(self, width: int, second: int, fourth: int, prefix: str = "") -> None:
        """The five convolutions that lead to a quarter of the size."""
        self.add(f"{prefix}conv1", 5, width, 5)
        self.add(f"{prefix}conv2_downsample", width, second, stride=2)
        self.add(f"{prefix}conv3", second, 2 * width)
        self.add(f"{prefix}conv4_downsample", 2 * width, fourth, stride=2)
        self.add(f"{prefix}conv5", fourth, 4 * width)
        self.add(f"{prefix}conv6", 4 * width, 4 * width)

    def add_atrous(self, width: int) -> None:
        for number, rate in ((7, 2), (8, 4), (9, 8), (10, 16)):
            self.add(f"conv{number}_atrous", 4 * width, 4 * width, rate=rate)

    def add_head(self, width: int, inputs: int, prefix: str = "") -> None:
        """The seven convolutions that lead back to a picture."""
        widths = (inputs, 4 * width, 4 * width, 2 * width, 2 * width, width, width // 2, 3)
        for number, (before, after) in enumerate(pairwise(widths), 11):
            self.add(f"{prefix}conv{number}", before, after)

    def body(self, x: Tensor, prefix: str = "") -> Tensor:
        names = ("conv1", "conv2_downsample", "conv3", "conv4_downsample", "conv5")
        return self.run(x, *(prefix + name for name in names))

    def atrous(self, x: Tensor) -> Tensor:
        return self.run(x, "conv6", "conv7_atrous", "conv8_atrous", "conv9_atrous", "conv10_atrous")

    def head(self, x: Tensor, prefix: str = "") -> Tensor:
        """Two convolutions at each of three sizes, and a last one to the picture, cut to [-1,1]."""
        for first in (11, 13, 15):
            x = self.run(x, f"{prefix}conv{first}", f"{prefix}conv{first + 1}")
            x = F.interpolate(x, scale_factor=2, mode="nearest") if first < 15 else x
        return self.conv(x, f"{prefix}conv17").clamp(-1, 1)


class Named(nn.Module):
    """A convolution one level down, where the published files have it."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)  # type: ignore[no-any-return]


class Coarse(Convolutions):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.add_body(width, 2 * width, 4 * width)
        self.add_atrous(width)
        self.add_head(width, 4 * width)

    def forward(self, x: Tensor, holes: Tensor) -> Tensor:
        return self.head(self.atrous(self.body(with_ones(x, holes))))


class Fine(Convolutions):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.add_body(width, width, 2 * width)
        self.add_atrous(width)
        self.add_body(width, width, 4 * width, "pm")
        self.add("pmconv9", 4 * width, 4 * width)
        self.add("pmconv10", 4 * width, 4 * width)
        self.add_head(width, 8 * width, "all")

    def forward(self, x: Tensor, holes: Tensor) -> Tensor:
        given = with_ones(x, holes)
        imagined = self.atrous(self.body(given))
        matched = F.relu(self.conv(self.body(given, "pm"), "pmconv6"))
        copied = self.run(contextual_attention(matched, holes), "pmconv9", "pmconv10")
        return self.head(torch.cat([imagined, copied], 1), "all")


def with_ones(x: Tensor, holes: Tensor) -> Tensor:
    """Five channels: the picture, ones that tell where it ends, the hole."""
    return torch.cat([x, torch.ones_like(holes), holes], 1)
