"""What no metric takes: maps that hold no numbers, and pictures too small for what is asked of them."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.measures import metric, metrics

CLASSIFIER = Classifier(tiny_net(classes=8), input_size=32, name="tiny")


def truth(side: int) -> dict[str, object]:
    draws = torch.Generator().manual_seed(1)
    mask = torch.zeros(2, side, side, dtype=torch.bool)
    mask[:, side // 2 :] = True
    return {
        "boxes": [torch.tensor([[0.0, side / 2, side, side]])] * 2, "masks": mask,
        "images": torch.rand(2, 3, side, side, generator=draws), "targets": torch.zeros(2, dtype=torch.int64),
        "labels": torch.zeros(2, dtype=torch.int64), "probabilities": torch.full((2, 8), 1 / 8),
    }  # fmt: skip


@pytest.mark.parametrize("name", metrics.names())
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_a_map_with_a_value_that_is_no_number_is_refused(name: str, wrong: float) -> None:
    """Infinity once went through: as the first of an order, and as pictures that were left out without a word."""
    made = metric(name, CLASSIFIER if metrics.get(name).needs_classifier else None)
    maps = torch.rand(2, 32, 32, generator=torch.Generator().manual_seed(2))
    maps[1, 3, 4] = wrong
    with pytest.raises(InputError, match="a map holds (NaN|infinity)"):
        made.per_image(maps, **{need: truth(32)[need] for need in made.needs})


@pytest.mark.parametrize(("name", "cells"), [("idsds", 4), ("mu_fidelity", 9)])
def test_cells_need_pixels(name: str, cells: int) -> None:
    made = metric(name, CLASSIFIER)
    for side, fits in ((cells, True), (cells - 1, False)):
        maps, images = torch.rand(1, side, 12), torch.rand(1, 3, side, 12)
        if fits:
            assert -1 <= float(made.per_image(maps, images=images)) <= 1
        else:
            with pytest.raises(InputError, match=f"{cells} cells a side .* {side}x12"):
                made.per_image(maps, images=images)
