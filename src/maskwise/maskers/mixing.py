"""A decoder that mixes all taps before it draws, so that fine and coarse evidence can multiply; our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.maskers.decoder import pooled

ClassPeak = Literal["own", "top"]


class MixingDecoder(nn.Module):
    """Taps [(N,C,h,w), …] to mask logits (N,H/4,W/4).

    Each tap is projected to ``width`` channels (1x1 convolution, batch norm, ReLU) and brought to a quarter of the
    input size; all of them are mixed (1x1 convolution to ``mix`` channels, batch norm, ReLU), and one 3x3 convolution
    draws.
    ``Decoder`` only adds its taps up: there, a fine edge counts as much where no object is as where one is.

    With ``class_tap`` one more channel is mixed in, how much each place speaks for the class that is asked for. Only
    this channel differs from class to class, so what the taps say is computed once for all of them.

    With an embedding each class has a number e_c for each mixed channel h, from 0 on: what is drawn from is
    (1 + e_c) h. A class that training never asked for then has the mask that all classes have in common.

    Args:
        channels: of each tap, fine to coarse.
        width: channels of a projected tap.
        mix: channels after mixing.
        class_tap: read the class activation, too?
        head_std: of the last convolution's first weights; None is PyTorch's own.
        class_peak: what the class activation is divided by before it is read (see ``Layout``).
        embedded: how many classes have an embedding; None has none.
    """

    def __init__(
        self,
        channels: Sequence[int],
        width: int = 24,
        mix: int = 32,
        class_tap: bool = False,
        head_std: float | None = 0.02,
        class_peak: ClassPeak = "own",
        embedded: int | None = None,
    ) -> None:
        super().__init__()
        self.class_tap, self.class_peak = class_tap, class_peak
        self.projections = nn.ModuleList(
            nn.Sequential(nn.Conv2d(c, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()) for c in channels
        )
        self.mix = nn.Conv2d(width * len(channels) + class_tap, mix, 1, bias=False)
        self.norm = nn.BatchNorm2d(mix)
        self.head = nn.Conv2d(mix, 1, 3, padding=1)
        self.embedding = None if embedded is None else nn.Parameter(torch.zeros(embedded, mix))
        if head_std is not None:
            nn.init.normal_(self.head.weight, 0.0, head_std)
            assert self.head.bias is not None
            nn.init.zeros_(self.head.bias)

    def forward(
        self,
        taps: Sequence[Tensor],
        size: tuple[int, int],
        activation: Tensor | None = None,
        classes: Tensor | None = None,
    ) -> Tensor:
        """Mask logits on the quarter grid of an input of ``size`` (H,W).

        Each tap is mixed at its own size, and what it adds is enlarged: both are linear, so it is the same.

        Args:
            activation: (N,K,a,b) in [0,1], with ``class_tap``: of K classes of each picture.
            classes: (N,K), with an embedding.

        Returns:
            (N,h,w), or with ``activation`` or ``classes`` (N,K,h,w).
        """
        grid = (max(size[0] // 4, 1), max(size[1] // 4, 1))
        mixed: Tensor | None = None
        first = 0
        for tap, project in zip(taps, self.projections, strict=True):
            projected = project(pooled(tap, grid))
            channels = projected.shape[1]
            part = enlarged(F.conv2d(projected, self.mix.weight[:, first : first + channels]), grid)
            mixed = part if mixed is None else mixed + part
            first += channels
        assert mixed is not None
        if classes is not None:
            assert self.embedding is not None
            scale = 1 + self.embedding[classes][..., None, None]  # (N,K,mix,1,1)
            shared = self.norm(mixed).relu()[:, None]
            drawn: Tensor = self.head((shared * scale.to(shared.dtype)).flatten(0, 1))[:, 0]
            by_class: Tensor = drawn.unflatten(0, (-1, classes.shape[1]))
            return by_class
        if activation is None:
            return self._drawn(mixed)
        count = activation.shape[1]
        weight = self.mix.weight[:, first:].reshape(1, 1, -1, 1, 1)
        of_class = enlarged(activation.to(mixed.dtype), grid)[:, :, None] * weight  # (N,K,mix,h,w)
        masks: Tensor = self._drawn((mixed[:, None] + of_class).flatten(0, 1)).unflatten(0, (-1, count))
        return masks

    def _drawn(self, mixed: Tensor) -> Tensor:
        drawn: Tensor = self.head(self.norm(mixed).relu())
        return drawn[:, 0]


def enlarged(maps: Tensor, grid: tuple[int, int]) -> Tensor:
    return maps if maps.shape[-2:] == grid else F.interpolate(maps, grid, mode="bilinear", align_corners=False)
