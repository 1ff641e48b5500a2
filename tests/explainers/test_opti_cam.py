"""Opti-CAM: its first mask is the mean activation, its score never falls, and it finds the channel that counts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer

PLAIN: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "input_size": 32}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def masks(grid: Tensor, weights: Tensor) -> Tensor:
    mixed = (grid.relu() * weights[:, :, None, None]).sum(1, keepdim=True)
    return min_max(F.interpolate(mixed, (32, 32), mode="bilinear", align_corners=False)[:, 0])


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(tiny_net(), **PLAIN)


def activation(classifier: Classifier, layer: str) -> Tensor:
    with torch.no_grad(), classifier.tapped([layer], raw=True) as seen:
        classifier.logits(IMAGES)
    return seen[layer]


def test_the_first_mask_is_the_mean_activation(classifier: Classifier) -> None:
    explain = explainer("opti_cam", classifier, layer="10", iterations=1, learning_rate=1e-12)
    grid = activation(classifier, "10")
    expected = masks(grid, torch.full(grid.shape[:2], 1 / grid.shape[1]))
    torch.testing.assert_close(explain(IMAGES, 3), expected, atol=1e-5, rtol=0)
    scores = classifier.logits(IMAGES * expected[:, None])[:, 3]
    torch.testing.assert_close(explain.report["score"].flatten(), scores.detach(), atol=1e-4, rtol=0)


def test_the_best_score_never_falls(classifier: Classifier) -> None:
    scores = []
    for iterations in (1, 4, 16):
        explain = explainer("opti_cam", classifier, layer="10", iterations=iterations, learning_rate=0.5)
        maps = explain(IMAGES, [[1, 3]] * 2)
        assert maps.shape == (2, 2, 32, 32)
        scores.append(explain.report["score"])
        for k, target in enumerate((1, 3)):  # what is reported is what the map's own picture scores
            seen = classifier.logits(IMAGES * maps[:, k, None])[:, target]
            torch.testing.assert_close(explain.report["score"][:, k], seen.detach(), atol=1e-3, rtol=0)
    assert (scores[1] >= scores[0] - 1e-5).all() and (scores[2] >= scores[1] - 1e-5).all()
    assert (scores[2] > scores[0] + 1e-4).any()


class Halves(nn.Module):
    """Two channels, lit on the left and on the right; class 0 counts the light on the left."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        small = F.avg_pool2d(images.mean(1, keepdim=True), 4)
        left = torch.cat([torch.ones(4), torch.zeros(4)])
        seen = self.layer(torch.cat([small * left, small * (1 - left)], 1))
        found = seen.mean((2, 3))
        return torch.stack([found[:, 0] - found[:, 1], found[:, 1] - found[:, 0]], 1) * 50


def test_it_finds_the_channel_that_counts() -> None:
    classifier = Classifier(Halves(), **PLAIN, taps=["layer"])
    images = torch.ones(1, 3, 32, 32)
    images[..., 16:] = 0.6  # of two halves that are alike the first mask would be flat
    maps = explainer("opti_cam", classifier, layer="layer")(images, [[0, 1]])[0]
    share = maps[..., :16].sum((1, 2)) / maps.sum((1, 2))
    assert share[0] > 0.9 and share[1] < 0.1, share


def test_options_that_can_not_be(classifier: Classifier) -> None:
    for options in ({"iterations": 0}, {"learning_rate": -1.0}, {"layer": "nowhere"}):
        with pytest.raises(InputError):
            explainer("opti_cam", classifier, **options)
