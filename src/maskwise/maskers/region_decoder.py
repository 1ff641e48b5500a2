"""A decoder that divides a picture into regions: the object, the background, and what may be either."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.maskers.decoder import added_up

Channel = Literal["fg", "not_bg"]
FG, BG = 0, 1  # rows of the regions; a third one is ambiguous


class RegionDecoder(nn.Module):
    """Taps to regions: softmax over channels of BN(conv3x3(taps)) without a bias (TriLite, CVPR 2026; C2AM's is alike).

    As a masker's decoder it gives the log-odds of one region, log R_fg - log (1 - R_fg), whose sigmoid is R_fg. It is
    one convolution, so the regions are as coarse as the finest tap that is read.

    Args:
        channels: of each tap, fine to coarse.
        regions: 3 (fg, bg, ambiguous), or 2 (fg, bg).
        channel: what the mask shows: ``fg``, or ``not_bg``, the object and what may be either.
    """

    def __init__(self, channels: Sequence[int], regions: int = 3, channel: Channel = "fg") -> None:
        super().__init__()
        self.channel = channel
        self.conv = nn.Conv2d(sum(channels), regions, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(regions)

    def scores(self, taps: Sequence[Tensor]) -> Tensor:
        """(N,R,h,w) of taps [(N,C,h,w), …] on the grid of the finest; their softmax over R are the regions.

        Coarser taps are enlarged, all channels stand side by side, and one convolution reads them. As in ``Decoder`` a
        coarse tap is weighed first, for the nine places of the kernel, and these are enlarged: the same, for less.
        """
        grid, regions, first = taps[0].shape[-2:], self.norm.num_features, 0
        total: Tensor | None = None
        for tap in taps:
            weight = self.conv.weight[:, first : first + tap.shape[1]]
            if tap.shape[-2:] == grid:
                part = F.conv2d(tap, weight, padding=1)
            else:
                places = F.conv2d(tap, weight.permute(0, 2, 3, 1).reshape(9 * regions, -1, 1, 1))
                places = F.interpolate(places, grid, mode="bilinear", align_corners=False)
                part = added_up(places.unflatten(1, (regions, 9)).flatten(0, 1)).unflatten(0, (-1, regions))
            total = part if total is None else total + part
            first += tap.shape[1]
        assert total is not None
        found: Tensor = self.norm(total)
        return found

    def forward(self, taps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Mask logits (N,H/4,W/4) of an input of ``size`` (H,W); scores are enlarged before they are compared."""
        grid = (max(size[0] // 4, 1), max(size[1] // 4, 1))
        scores = F.interpolate(self.scores(taps), grid, mode="bilinear", align_corners=False)
        shown = [FG] if self.channel == "fg" else [row for row in range(scores.shape[1]) if row != BG]
        others = [row for row in range(scores.shape[1]) if row not in shown]
        return scores[:, shown].logsumexp(1) - scores[:, others].logsumexp(1)

    def swapped(self) -> RegionDecoder:
        """A copy that calls fg what this one calls bg, and the other way round."""
        other = copy.deepcopy(self)
        order = [BG, FG, *range(2, self.norm.num_features)]
        state = self.state_dict()
        other.load_state_dict({key: value[order] if value.ndim else value for key, value in state.items()})
        return other
