"""Labelled pictures as a training loop takes them: batches in random order, flips and crops, and their colours."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.checks.rows import Values, as_float, parts_of
from maskwise.images import with_channels


@dataclass(frozen=True)
class EpochBatches:
    """Pictures and labels for ``training.loop.run_steps``, in one process.

    Attributes:
        images: (N,C,H,W) uint8; a tensor on the device of ``labels``, or rows that are read when they are needed.
        labels: (N,) int64, on the device of the training.
        size: pictures of a batch.
        augment: flip and crop them?
        draws: the order and the crops come from it, batch after batch.
        channels: that pictures are brought to, for a grey network, say; None leaves them as they are.
    """

    images: Values
    labels: Tensor
    size: int
    augment: bool
    draws: torch.Generator
    channels: int | None = None

    @property
    def steps(self) -> int:
        """Batches an epoch, as many as ``random_batches`` gives."""
        count = len(self.images)
        return -(-count // self.size) - (count > self.size and count % self.size == 1)

    def batches(
        self, first: int, end: int, rank: int = 0, world: int = 1
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Images (B,C,H,W) float in [0,1] and labels (B,) of so many steps; each epoch has all pictures."""
        left = end - first
        while left > 0:
            # The order is drawn first: the crops come from the same generator.
            order = random_batches(len(self.images), self.size, self.draws)[:left]
            for rows, part in zip(order, parts_of(self.images, order), strict=True):
                images = as_float(part.to(self.labels.device))
                images = images if self.channels is None else with_channels(images, self.channels)
                yield flipped_and_cropped(images, self.draws) if self.augment else images, self.labels[rows]
            left -= len(order)


def random_batches(count: int, size: int, draws: torch.Generator) -> list[Tensor]:
    """All rows in random order, ``size`` at once; a last one that is alone joins the batch before it.

    Batch norm can't be trained on one picture.
    """
    parts = list(torch.randperm(count, generator=draws).split(size))
    if len(parts) > 1 and len(parts[-1]) == 1:
        parts[-2:] = [torch.cat(parts[-2:])]
    return parts


def flipped_and_cropped(images: Tensor, draws: torch.Generator) -> Tensor:
    """Each picture (N,C,H,W) mirrored half the time and moved by up to an eighth of its shorter side; edges are
    reflected."""
    count, _, height, width = images.shape
    pad = max(min(height, width) // 8, 1)
    padded = F.pad(images, (pad, pad, pad, pad), mode="reflect")
    corner = torch.randint(2 * pad + 1, (2, count, 1), generator=draws).to(images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    flip = (torch.rand(count, 1, generator=draws) < 0.5).to(images.device)
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
