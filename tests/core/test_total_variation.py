"""Total variation that counts less along a picture's own edges."""

from __future__ import annotations

import math
from typing import get_args

import pytest
import torch

from maskwise.core.total_variation import TotalVariation, edge_weights, total_variation
from maskwise.training.objectives import Judged, Term, Total


def test_edge_weights_by_loops() -> None:
    draws = torch.Generator().manual_seed(0)
    images, maps = torch.rand(2, 3, 4, 5, generator=draws), torch.rand(2, 4, 5, generator=draws)
    found = total_variation(maps, weights=edge_weights(images, 0.2))
    for n in range(2):
        total = 0.0
        for y in range(4):
            for x in range(5):
                for v, u in ((y + 1, x), (y, x + 1)):
                    if v < 4 and u < 5:
                        apart = float((images[n, :, v, u] - images[n, :, y, x]).abs().mean())
                        total += math.exp(-apart / 0.2) * float(maps[n, v, u] - maps[n, y, x]) ** 2
        assert float(found[n]) == pytest.approx(total, rel=1e-5)


@pytest.mark.parametrize("form", get_args(TotalVariation))
def test_a_flat_picture_counts_in_full(form: TotalVariation) -> None:
    maps = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1))
    flat = edge_weights(torch.full((2, 3, 4, 5), 0.4))
    torch.testing.assert_close(total_variation(maps, form, weights=flat), total_variation(maps, form))
    steep = edge_weights(torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(2)))
    assert (total_variation(maps, form, weights=steep) < total_variation(maps, form)).all()


def test_an_objective_s_total_variation_looks_at_the_picture() -> None:
    """A mask's edge where the picture has one costs next to nothing, and elsewhere all of it."""
    images = torch.zeros(1, 3, 8, 8)
    images[..., 4:] = 1
    logits, label = {"in": torch.zeros(1, 5)}, torch.tensor([0])
    costs = {}
    for column in (4, 2):
        masks = torch.zeros(1, 8, 8)
        masks[..., column:] = 1
        judged = Judged(torch.zeros(1, 5), logits, label, masks, images=images)
        for edges in (None, 0.1):
            terms = {"max_class": Term(lambda_r=0, tv=1)}
            costs[column, edges] = float(Total(terms, tv_edges=edges)(judged)) - math.log(5)
    assert costs[4, None] == pytest.approx(8, abs=1e-5) and costs[2, None] == pytest.approx(8, abs=1e-5)
    assert costs[2, 0.1] == pytest.approx(8, abs=1e-5) and costs[4, 0.1] == pytest.approx(8 * math.exp(-10), abs=1e-4)
