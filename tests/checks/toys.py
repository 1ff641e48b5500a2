"""Toy data for the checks: what carries the label is known to the pixel."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskwise.checks import Labelled

SIDE, BLOCK = 24, slice(8, 14)
COLOURS = torch.tensor([[230, 40, 40], [40, 230, 40], [40, 40, 230]], dtype=torch.uint8)


def toy_net(classes: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(12, 24, 3, padding=1), nn.BatchNorm2d(24), nn.ReLU(), nn.AdaptiveAvgPool2d(2),
        nn.Flatten(), nn.Linear(96, classes),
    )  # fmt: skip


def toy_set(count: int, seed: int) -> Labelled:
    """Noise with one block of 6x6 pixels, always at the same place, whose colour is the class."""
    draws = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, SIDE, SIDE), generator=draws, dtype=torch.uint8)
    labels = torch.arange(count) % len(COLOURS)
    images[:, :, BLOCK, BLOCK] = COLOURS[labels][:, :, None, None]
    return Labelled(images, labels, ("red", "green", "blue"))


def oracle(images: Tensor, targets: Tensor | None = None) -> Tensor:
    """The block, with noise outside that never reaches it."""
    maps = torch.rand(len(images), SIDE, SIDE, generator=torch.Generator().manual_seed(1)) / 2
    maps[:, BLOCK, BLOCK] = 1
    return maps


def elsewhere(images: Tensor, targets: Tensor | None = None) -> Tensor:
    """The worst map there is: the block comes last."""
    return 1 - oracle(images)
