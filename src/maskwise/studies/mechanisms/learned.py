"""Small networks trained on pictures where one thing alone tells the class: a planted pattern, or a drawn shape."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from maskwise.data.scene import SHAPES
from maskwise.studies.mechanisms.base import (
    KnownCase,
    KnownSettings,
    kept_right,
    measured_and_spare,
    mechanisms,
    trained,
)
from maskwise.studies.mechanisms.planted import PATTERNS, patterns, places_apart, with_squares

KINDS = ("square", "cross", "ring")


def patterned(grounds: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Photographs (N,3,S,S) with a square of a pattern, a quarter of the side wide, where it is, and which (N,)."""
    square = grounds.shape[-1] // 4
    labels = torch.arange(len(grounds)) % len(PATTERNS)
    corners = places_apart(len(grounds), 1, grounds.shape[-1], square, torch.Generator().manual_seed(seed))
    squares = patterns(square)[labels][:, None].expand(-1, -1, 3, -1, -1)
    return *with_squares(grounds, squares, corners), labels


@mechanisms.register(
    "learned pattern", title="a network trained where a planted pattern alone tells the class", trains=True
)
def learned_pattern(grounds: Tensor, settings: KnownSettings) -> KnownCase:
    measured, spare = measured_and_spare(grounds, settings)
    images, _, labels = patterned(spare, 1)
    classifier = trained(images, labels, PATTERNS, "learned pattern", settings)
    return kept_right(classifier, *patterned(measured, 0))


@mechanisms.register("learned shape", title="a network trained to tell plain shapes on photographs apart", trains=True)
def learned_shape(grounds: Tensor, settings: KnownSettings) -> KnownCase:
    measured, spare = measured_and_spare(grounds, settings)
    images, _, labels = shaped(spare, 1)
    classifier = trained(images, labels, KINDS, "learned shape", settings)
    return kept_right(classifier, *shaped(measured, 0))


def shaped(grounds: Tensor, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Photographs (N,3,S,S) with a shape of one colour, its pixels, and which of ``KINDS`` it is (N,).

    Colour, size (half to three quarters of the side) and place are drawn alike for all kinds.
    """
    draws, side = np.random.default_rng(seed), grounds.shape[-1]
    labels = torch.arange(len(grounds)) % len(KINDS)
    images, truth = grounds.clone(), grounds.new_zeros(len(grounds), side, side)
    for image, mask, kind in zip(images, truth, labels.tolist(), strict=True):
        radius = side * draws.uniform(0.25, 0.375)
        row, column = draws.uniform(radius, side - radius, 2)
        down, across = (np.arange(side)[:, None] - row) / radius, (np.arange(side)[None] - column) / radius
        mask += torch.from_numpy(SHAPES[KINDS[kind]](*np.broadcast_arrays(across, down))).float()
        image[:, mask > 0] = torch.from_numpy(draws.uniform(0, 1, (3, 1))).float()
    return images, truth, labels
