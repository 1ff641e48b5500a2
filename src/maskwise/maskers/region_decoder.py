"""A decoder that divides a picture into regions: the object, the background, and what may be either."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Channel = Literal["fg", "not_bg"]
FG, BG = 0, 1  # rows of the regions; a third one is ambiguous


def side_by_side(taps: Sequence[Tensor]) -> Tensor:
    """Taps [(N,C,h,w), …] on the grid of the finest, which is the first, channel beside channel."""
    grid = taps[0].shape[-2:]
    return torch.cat(
        [
            tap if tap.shape[-2:] == grid else F.interpolate(tap, grid, mode="bilinear", align_corners=False)
            for tap in taps
        ],
        1,
    )


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

    def scores(self, features: Tensor) -> Tensor:
        """(N,R,h,w) of features (N,C,h,w), as ``side_by_side`` gives them; their softmax over R are the regions."""
        found: Tensor = self.norm(self.conv(features))
        return found

    def forward(self, taps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """Mask logits (N,H/4,W/4) of an input of ``size`` (H,W); scores are enlarged before they are compared."""
        grid = (max(size[0] // 4, 1), max(size[1] // 4, 1))
        scores = F.interpolate(self.scores(side_by_side(taps)), grid, mode="bilinear", align_corners=False)
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
