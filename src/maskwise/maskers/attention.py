"""T-TAME's attention: a column of weights for each class, on taps that learn to attend (Ntrougkas et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class AttentionDecoder(nn.Module):
    """Taps [(N,C_l,h_l,w_l), …] to mask logits (N,K,h,w) of K classes of each picture.

    Of each tap T: ReLU(BN(conv1x1(T)) + T), brought to one grid by bilinear interpolation; all of them concatenated,
    and a 1x1 convolution with one output a class. The grid is that of the finest tap, or a quarter of the input where
    that is coarser, 56x56 of 224. Only the columns of the classes that are asked for are computed: each tap is weighed
    at its own size, and K maps are enlarged instead of C_l channels, which is the same, since both are linear.

    It has a mask for each class of the classifier, and thus needs pictures of each; ``MixingDecoder`` reads the class
    from the classifier, and needs none.

    Args:
        channels: of each tap, fine to coarse.
        classes: how many there are.
    """

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Sequential(nn.Conv2d(c, c, 1), nn.BatchNorm2d(c)) for c in channels)
        self.head = nn.Conv2d(sum(channels), classes, 1)

    def forward(self, taps: Sequence[Tensor], size: tuple[int, int], classes: Tensor) -> Tensor:
        """Mask logits (N,K,h,w) of classes (N,K), for an input of ``size`` (H,W)."""
        grid = (min(max(size[0] // 4, 1), taps[0].shape[-2]), min(max(size[1] // 4, 1), taps[0].shape[-1]))
        columns = self.head.weight.flatten(1)[classes]  # (N,K,C)
        assert self.head.bias is not None
        logits = self.head.bias[classes][:, :, None, None]
        first = 0
        for tap, branch in zip(taps, self.branches, strict=True):
            attended = (branch(tap) + tap).relu()
            own = columns[:, :, first : first + tap.shape[1]].to(attended.dtype)
            maps = torch.einsum("nkc,nchw->nkhw", own, attended)
            logits = logits + F.interpolate(maps, grid, mode="bilinear", align_corners=False)
            first += tap.shape[1]
        return logits
