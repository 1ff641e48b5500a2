"""Squares painted on photographs: the only pixels that say anything of the class."""

from __future__ import annotations

import torch
from torch import Tensor

PATTERNS = ("horizontal stripes", "vertical stripes", "checks", "diagonals")


def places_apart(count: int, squares: int, side: int, square: int, draws: torch.Generator) -> Tensor:
    """Upper left corners (count,squares,2) of squares that do not touch, at random."""
    found = torch.zeros(count, squares, 2, dtype=torch.int64)
    for corners in found:
        while True:
            corners[:] = torch.randint(side - square + 1, (squares, 2), generator=draws)
            gaps = (corners[:, None] - corners).abs().amax(2) + (square + 1) * torch.eye(squares, dtype=torch.int64)
            if (gaps > square).all():
                break
    return found


def with_squares(grounds: Tensor, squares: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """Photographs with squares painted in, and where they are.

    Args:
        grounds: (N,3,S,S) in [0,1].
        squares: (N,M,3,P,P), what is painted.
        corners: (N,M,2), row and column.

    Returns:
        (N,3,S,S), and (N,S,S), 1 in the squares.
    """
    images, truth = grounds.clone(), grounds.new_zeros(len(grounds), *grounds.shape[-2:])
    size = squares.shape[-1]
    for image, mask, own, at in zip(images, truth, squares, corners.tolist(), strict=True):
        for square, (row, column) in zip(own, at, strict=True):
            image[:, row : row + size, column : column + size] = square
            mask[row : row + size, column : column + size] = 1
    return images, truth


def patterns(size: int) -> Tensor:
    """(4,1,P,P): ``PATTERNS`` of lines two pixels wide, black and white."""
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    stripes = (rows // 2, columns // 2, rows // 2 + columns // 2, (rows + columns) // 2)
    return torch.stack([stripe % 2 for stripe in stripes])[:, None].float()


def muted(grounds: Tensor) -> Tensor:
    """Photographs without saturated colours, in [0.25,0.75]."""
    return 0.25 + 0.5 * grounds
