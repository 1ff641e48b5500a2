"""Outputs of layers as grids (N,C,h,w): maps with channels first or last, and rows of tokens."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.nn.modules.instancenorm import _InstanceNorm

MOST_PREFIX_TOKENS = 16  # class, distillation and register tokens together

# What they give are rows (N,C,T), whose second side are channels and no places.
ALONG_ROWS = (
    nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d, nn.AvgPool1d, nn.MaxPool1d, nn.LPPool1d, nn.BatchNorm1d, _ConvNd,
    _InstanceNorm,
)  # fmt: skip

GridSize = tuple[int, int]


@dataclass(frozen=True)
class GridLayout:
    """Where the places of a layer's output are.

    Attributes:
        kind: ``first`` (N,C,h,w), ``last`` (N,h,w,C), or ``tokens`` (N,T,C).
        prefix: tokens before those of the grid: class, distillation, registers.
        aspect: h / w of the tokens' grid.
    """

    kind: str
    prefix: int = 0
    aspect: float = 1.0

    def grid(self, output: Tensor) -> Tensor | None:
        """(N,C,h,w) of an output, or of its gradient; a view. None where it has no such grid."""
        if self.kind == "tokens":
            if output.ndim != 3:
                return None
            size = rectangle(output.shape[1] - self.prefix, self.aspect)
            if size is None:
                return None
            grid: Tensor = output[:, self.prefix :].transpose(1, 2).unflatten(2, size)
            return grid
        if output.ndim != 4:
            return None
        return output if self.kind == "first" else output.permute(0, 3, 1, 2)


def layout_of(
    output: Tensor, size: GridSize, before: Sequence[GridSize] = (), prefix: int | None = None
) -> GridLayout | None:
    """The layout of an output, or None if it has no grid.

    Args:
        output: (N,…), of a picture of ``size`` (H,W).
        before: (h,w) of the maps with channels that layers before it gave, of which tokens were made perhaps.
        prefix: how many tokens come before the grid, where the library says so.
    """
    if output.ndim == 4:
        wanted = math.log(size[0] / size[1])
        _, a, b, c = output.shape
        first, last = (abs(math.log(rows / columns) - wanted) for rows, columns in ((b, c), (a, b)))
        return GridLayout("last" if last < first else "first")
    if output.ndim != 3 or output.shape[1] < 4:
        return None
    if output.shape[2] == 1:  # of each channel the average over all places, rather than places of one channel
        return None
    tokens, aspect = output.shape[1], size[0] / size[1]
    # Tokens are the places of a map before them: with the prefix that the library says, with none, or with some.
    for allowed in ((prefix,), (0,), range(MOST_PREFIX_TOKENS + 1)):
        for height, width in reversed(before):
            beside = tokens - height * width
            if height * width > 1 and beside in allowed:
                return GridLayout("tokens", beside, height / width)
    for beside in ([] if prefix is None else [prefix]) + list(range(MOST_PREFIX_TOKENS + 1)):
        grid = rectangle(tokens - beside, aspect)
        if grid is not None and min(grid) > 1:
            return GridLayout("tokens", beside, grid[0] / grid[1])
    return None


def gives_rows(module: nn.Module) -> bool:
    """Is an output (N,.,.) of this module one of channels and then places, (N,C,T), rather than of tokens?"""
    return isinstance(module, ALONG_ROWS) or (isinstance(module, nn.Flatten) and module.start_dim == 2)


def rectangle(places: int, aspect: float) -> GridSize | None:
    """(h,w) with h * w = ``places`` and h / w about ``aspect``; None if there is none.

    Example:
        >>> rectangle(196, 1.0), rectangle(80, 1.25), rectangle(197, 1.0)
        ((14, 14), (10, 8), None)
    """
    if places < 1:
        return None
    height = round(math.sqrt(places * aspect))
    for rows in (height, height - 1, height + 1):
        if rows > 0 and places % rows == 0 and abs(math.log(rows * rows / places / aspect)) < 0.1:
            return rows, places // rows
    return None
