"""A ladder: a small network that climbs beside a frozen one and ends in a mask (after AutoGnothi's side network).

Mask and prediction come out of one forward, and no gradient ever enters the network that is explained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.maskers.decoder import pooled

HEAD_WIDTH = 16  # channels of an attention head in a rung


@dataclass(frozen=True)
class Foothold:
    """Where a rung stands.

    Args:
        places: of the tap's grid, rows times columns.
        tokens: do its places come from the tokens of a transformer?
    """

    places: int
    tokens: bool = False


class LadderDecoder(nn.Module):
    """z_l = Block_l(z_{l-1} + GELU(Linear_l(h_l))), from tap to tap; a head reads the last z.

    Taps h_l are climbed from coarse to fine, those of one grid, as a transformer's, in the order of the network, and z
    is enlarged on the way. Linear_l is one of channels, to ``width`` of them; a block is residual: a depthwise and a
    pointwise convolution, or where the tap is a transformer's a small transformer block. All blocks begin as
    identities and all Linear_l but the last tap's as zero, so that training begins with a decoder of the last tap.

    The mask's logits lie on the grid of the finest tap that is read, at most a quarter of the input size. Taps are cut
    off here: whatever is read, the network beside which the ladder stands gets no gradient.

    Args:
        channels: of each tap, fine to coarse.
        head: any decoder that reads one tap of ``width`` channels.
        width: of the ladder.
        footholds: of each tap; without them they are a convolutional network's, each finer than the next.
    """

    def __init__(
        self, channels: Sequence[int], head: nn.Module, width: int = 24, footholds: Sequence[Foothold] = ()
    ) -> None:
        super().__init__()
        footholds = footholds or [Foothold(len(channels) - i) for i in range(len(channels))]
        self.order = sorted(range(len(channels)), key=lambda i: footholds[i].places)
        self.linears = nn.ModuleList(nn.Linear(c, width) for c in channels)
        self.blocks = nn.ModuleList(TokenRung(width) if foot.tokens else ConvRung(width) for foot in footholds)
        self.head = head
        for linear in list(self.linears)[:-1]:
            _zero(linear)

    @property
    def class_tap(self) -> bool:
        """Does the head read the class activation?"""
        return bool(getattr(self.head, "class_tap", False))

    @property
    def class_peak(self) -> str:
        """As the head's: what a class activation is measured by."""
        return str(getattr(self.head, "class_peak", "own"))

    def forward(self, taps: Sequence[Tensor], size: tuple[int, int], activation: Tensor | None = None) -> Tensor:
        """Mask logits (N,h,w) of an input of ``size`` (H,W), or (N,K,h,w); arguments as ``MixingDecoder.forward``."""
        grid = (max(size[0] // 4, 1), max(size[1] // 4, 1))
        state: Tensor | None = None
        for i in self.order:
            read = F.gelu(_at_each_place(self.linears[i], pooled(taps[i].detach(), grid)))
            state = read if state is None else enlarged_to(state, read) + read
            state = self.blocks[i](state)
        assert state is not None
        own = (4 * state.shape[-2], 4 * state.shape[-1])  # a head draws on a quarter of what it takes for the input
        drawn: Tensor = self.head([state], own) if activation is None else self.head([state], own, activation)
        return drawn


class ConvRung(nn.Module):
    """x + pointwise(GELU(norm(depthwise 3x3 of x))), (N,C,h,w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.around = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False), nn.BatchNorm2d(width)
        )
        self.mixed = nn.Linear(width, width)
        _zero(self.mixed)

    def forward(self, x: Tensor) -> Tensor:
        return x + _at_each_place(self.mixed, F.gelu(self.around(x)))


class TokenRung(nn.Module):
    """A pre-norm transformer block (Dosovitskiy et al. 2021, Eq. 2, 3) on the places of (N,C,h,w)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH if width % HEAD_WIDTH == 0 else 1
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.given = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        _zero(self.given)
        _zero(self.down)

    def forward(self, x: Tensor) -> Tensor:
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = self.asked(self.first(tokens)).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.given(attended)
        tokens = tokens + self.down(F.gelu(self.up(self.second(tokens))))
        grid: Tensor = tokens.transpose(1, 2).reshape(x.shape)
        return grid


def enlarged_to(state: Tensor, like: Tensor) -> Tensor:
    """(N,C,h,w) at the size of another, bilinearly."""
    size = (like.shape[-2], like.shape[-1])
    return state if state.shape[-2:] == size else F.interpolate(state, size, mode="bilinear", align_corners=False)


def _at_each_place(linear: nn.Module, x: Tensor) -> Tensor:
    """A linear layer on the channels of (N,C,h,w): one product of channels-last maps, where a convolution copies."""
    made: Tensor = linear(x.movedim(1, -1)).movedim(-1, 1)
    return made


def _zero(layer: nn.Module) -> None:
    for weight in layer.parameters():
        nn.init.zeros_(weight)
