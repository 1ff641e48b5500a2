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


def by_hand(classifier: Classifier, layer: str, target: int, iterations: int, rate: float) -> tuple[Tensor, Tensor]:
    """The masks (N,H,W) with the largest of the ``iterations + 1`` scores (N,), by Adam's own equations."""
    grid = activation(classifier, layer)
    w = torch.full(grid.shape[:2], 0.5)
    first, second = torch.zeros_like(w), torch.zeros_like(w)
    best, most = torch.zeros(2, 32, 32), torch.full((2,), -torch.inf)
    for step in range(1, iterations + 2):
        w.requires_grad_(True)
        shares = w.exp() / w.exp().sum(1, keepdim=True)
        made = masks(grid, shares)
        scores = classifier.logits(IMAGES * made[:, None])[:, target]
        better = scores > most
        best[better], most[better] = made[better].detach(), scores[better].detach()
        (slope,) = torch.autograd.grad(-scores.sum(), w)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        change = first / (1 - 0.9**step) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        w = (w - rate * change).detach()
    return best, most


@pytest.mark.parametrize(("layer", "iterations", "rate"), [("10", 5, 0.5), ("9", 5, 0.5), ("10", 8, 30.0)])
def test_it_is_its_equations(layer: str, iterations: int, rate: float, classifier: Classifier) -> None:
    """Behind a ReLU, before one (whose negative values are nothing), and so fast that the best mask is not the last."""
    explain = explainer("opti_cam", classifier, layer=layer, iterations=iterations, learning_rate=rate)
    found = explain(IMAGES, 3)
    best, most = by_hand(classifier, layer, 3, iterations, rate)
    torch.testing.assert_close(explain.report["score"].flatten(), most, atol=1e-4, rtol=0)
    torch.testing.assert_close(found, best, atol=1e-3, rtol=0)


def test_of_no_class_it_is_that_of_the_top_class_of_the_clean_picture(classifier: Classifier) -> None:
    """Not of whatever class is the likeliest behind each mask."""
    net = tiny_net()
    with torch.no_grad():
        clean = net(IMAGES)
        other = int(clean[0].argsort()[-2])
        net[-1].bias[other] += (clean.amax(1) - clean[:, other]).min() - 1e-3  # type: ignore[operator, index, union-attr]
    near = Classifier(net, **PLAIN)
    top = near.logits(IMAGES).argmax(1).tolist()
    explain = explainer("opti_cam", near, layer="10", iterations=6, learning_rate=0.5)
    expected = explain(IMAGES, top)
    masked = near.logits(IMAGES * expected[:, None]).argmax(1).tolist()
    assert masked != top, "behind its mask another class is the likeliest"
    torch.testing.assert_close(explain(IMAGES), expected, atol=1e-5, rtol=0)


def test_an_answer_that_no_mask_changes_has_a_map_of_zeros() -> None:
    class Deaf(Halves):
        def forward(self, images: Tensor) -> Tensor:
            return super().forward(images) * 0 + torch.tensor([1.0, 2.0])

    images = torch.rand(2, 3, 32, 32)
    maps = explainer("opti_cam", Classifier(Deaf(), **PLAIN, taps=["layer"]), layer="layer", iterations=2)(images, 0)
    assert not maps.any()


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
