"""Batches in random order, random flips and crops, and the colours of a set of pictures."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.checks.rows import Values


def batches(count: int, size: int) -> Iterator[Tensor]:
    """All rows in random order, ``size`` at once; a last one that is alone joins the batch before it.

    Batch norm can't be trained on one picture.
    """
    parts = list(torch.randperm(count).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    yield from parts


def flipped_and_cropped(images: Tensor) -> Tensor:
    """Each picture (N,3,S,S) mirrored half the time and moved by up to an eighth of its side; edges are reflected."""
    count, _, side, _ = images.shape
    pad = max(side // 8, 1)
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    corner = torch.randint(2 * pad + 1, (2, count, 1)).to(images.device)
    along = torch.arange(side, device=images.device)
    rows, columns = corner[0] + along, corner[1] + along
    flip = (torch.rand(count, 1) < 0.5).to(images.device)
    columns = torch.where(flip, columns.flip(1), columns)
    each = torch.arange(count, device=images.device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[each, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def colours(images: Values) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3,) of the colours of pictures (N,3,H,W) uint8, in [0,1] units."""
    total, squares = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for part in images.split(256):
        values = part.double() / 255
        total += values.sum((0, 2, 3))
        squares += (values**2).sum((0, 2, 3))
    pixels = images.shape[0] * images.shape[2] * images.shape[3]
    mean = total / pixels
    deviation = (squares / pixels - mean**2).clamp(min=0).sqrt()
    return mean.float(), deviation.clamp(min=1e-3).float()
