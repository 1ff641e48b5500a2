"""Losses on regions, each against its definition written out with loops, and against what it must not change."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskwise.training.region_losses import (
    RegionBatch,
    batch_area,
    c2am,
    log_of_the_others,
    losses_of,
    region_losses,
    region_means,
    suppressed,
    trilite,
    undecided,
)


def regions_and_features(r: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(seed)
    regions = torch.randn(4, r, 3, 5, generator=draws, dtype=torch.float64).mul(2).softmax(1)
    return regions, torch.rand(4, 6, 3, 5, generator=draws, dtype=torch.float64)


def test_one_hot_regions_give_masked_means() -> None:
    _, features = regions_and_features()
    which = torch.arange(15).reshape(3, 5) % 3
    regions = torch.stack([(which == r).double() for r in range(3)]).expand(4, -1, -1, -1)
    found = region_means(regions, [features])
    for r in range(3):
        expected = features[:, :, which == r].mean(2)
        torch.testing.assert_close(found[:, r], expected, rtol=1e-5, atol=0)


def test_a_coarser_tap_is_read_on_its_own_grid() -> None:
    """By the regions' means over its cells, and beside the finer tap."""
    draws = torch.Generator().manual_seed(2)
    regions = torch.rand(1, 2, 8, 8, generator=draws).softmax(1)
    fine, small = torch.rand(1, 3, 8, 8, generator=draws), torch.rand(1, 5, 4, 4, generator=draws)
    found = region_means(regions, [fine, small])
    assert found.shape == (1, 2, 8)
    for r in range(2):
        share = regions[0, r].reshape(4, 2, 4, 2).mean((1, 3))
        torch.testing.assert_close(found[0, r, 3:], (small[0] * share).sum((1, 2)) / share.sum())
        expected = (fine[0] * regions[0, r]).sum((1, 2)) / regions[0, r].sum()
        torch.testing.assert_close(found[0, r, :3], expected)


def test_a_region_without_a_place_has_the_feature_zero() -> None:
    _, features = regions_and_features()
    regions = torch.zeros(4, 2, 3, 5, dtype=torch.float64)
    regions[:, 0] = 1
    assert region_means(regions, [features])[:, 1].abs().max() == 0


def test_trilite_by_loops() -> None:
    regions, features = regions_and_features()
    labels, head = torch.tensor([0, 2, 6, 2]), nn.Linear(6, 7).double()
    weight, bias = head.weight.detach().numpy(), head.bias.detach().numpy()
    total = 0.0
    for n in range(4):
        probabilities = []
        for r in (0, 1):
            mean, share = np.zeros(6), 1e-6
            for i in range(3):
                for j in range(5):
                    mean += float(regions[n, r, i, j]) * features[n, :, i, j].numpy()
                    share += float(regions[n, r, i, j])
            scores = np.exp(weight @ (mean / share) + bias)
            probabilities.append((scores / scores.sum())[int(labels[n])])
        total += -math.log(probabilities[0]) - 30 * math.log(1 - probabilities[1])
    found = trilite(region_means(regions, [features]), labels, head, 30.0)
    assert float(found.detach()) == pytest.approx(total / 4, rel=1e-9)


def test_a_background_that_surely_shows_the_class_has_a_finite_gradient() -> None:
    """At p = 1, where log(1 - p) itself is -inf, and still one that pushes down."""
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 0.0]], requires_grad=True)
    found = log_of_the_others(logits, torch.tensor([0, 0]))
    assert logits.softmax(1)[0, 0] == 1
    (gradient,) = torch.autograd.grad(-found.sum(), logits)
    assert gradient.isfinite().all() and float(gradient[0, 0]) == pytest.approx(1)
    torch.testing.assert_close(found[1], torch.tensor(2 / 3).log())


def test_batch_area_is_of_the_batch() -> None:
    """Pictures that are too large and too small make up for each other."""
    fg = torch.stack([torch.full((4, 4), 0.6), torch.full((4, 4), 0.2)])
    assert float(batch_area(fg, 0.4)) == pytest.approx(0, abs=1e-6)
    assert float(batch_area(fg, 0.1)) == pytest.approx(0.3) and float(batch_area(fg, 0.5)) == pytest.approx(0.1)


def test_undecided_by_loops() -> None:
    fg = torch.rand(2, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    values = []
    for n in range(2):
        for i in range(4):
            for j in range(5):
                near = fg[n, max(i - 1, 0) : i + 2, max(j - 1, 0) : j + 2].mean()
                values.append(float(near * (1 - near)))
    assert float(undecided(fg)) == pytest.approx(np.mean(values), rel=1e-9)
    assert float(undecided(torch.ones(1, 4, 4))) == 0 and float(undecided(torch.full((1, 4, 4), 0.5))) == 0.25


def test_c2am_by_loops() -> None:
    regions, features = regions_and_features(2)
    means = region_means(regions, [features]).numpy()

    def cosine(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.clip(a @ b / np.linalg.norm(a) / np.linalg.norm(b), 0.0005, 0.9995))

    total = 0.0
    for i in range(4):
        for j in range(4):
            total -= math.log(1 - cosine(means[i, 0], means[j, 1])) / 16
    for side in (0, 1):
        for i in range(4):
            row = [cosine(means[i, side], means[j, side]) for j in range(4)]
            for j in range(4):
                rank = sum(other > row[j] for other in row)
                total -= math.exp(-0.3 * rank) * math.log(row[j]) / 16
    assert float(c2am(region_means(regions, [features]), 0.3)) == pytest.approx(total, rel=1e-9)


def test_c2am_does_not_say_which_region_is_the_object() -> None:
    regions, features = regions_and_features(2)
    own, exchanged = (region_means(r, [features]) for r in (regions, 1 - regions))
    torch.testing.assert_close(c2am(own), c2am(exchanged))
    other, _ = regions_and_features(2, seed=5)
    assert not torch.isclose(c2am(own), c2am(region_means(other, [features])))
    assert not region_losses.get("c2am").tells and region_losses.get("trilite").tells


def test_suppression_counts_nothing_where_the_rest_shows_more() -> None:
    outside, whole = torch.tensor([1.0, 5.0, 0.0]), torch.tensor([4.0, 4.0, 0.0])
    assert float(suppressed(outside, whole)) == pytest.approx(0.25 / 3)


class PlainTail:
    """Stands for the layers behind a tap: they pass on what they get, and each channel is a class."""

    def __call__(self, activation: Tensor) -> Tensor:
        return activation

    def activation(self, last: Tensor, labels: Tensor) -> Tensor:
        return torch.stack([one[label].relu().mean() for one, label in zip(last, labels, strict=True)])

    def answer(self, last: Tensor) -> Tensor:
        return last.mean((2, 3))


def test_background_suppression_by_loops() -> None:
    regions, features = regions_and_features()
    features = features - 0.3
    labels = torch.tensor([0, 3, 5, 1])
    loss = region_losses.get("bas").model_validate({"area": 1.5, "inside": 0.7})
    batch = RegionBatch(regions, [features], labels, tail=PlainTail())  # type: ignore[arg-type]
    total = 0.0
    for picture, fg, label in zip(features, regions[:, 0], labels.tolist(), strict=True):
        outside, whole = (float(x[label].clamp(min=0).mean()) for x in (picture * (1 - fg), picture))
        ratio = 0.0 if outside > whole else outside / whole
        inside = [float((channel * fg).mean()) for channel in picture]
        wrong = math.log(sum(math.exp(x) for x in inside)) - inside[label]
        total += (ratio + 0.7 * wrong + 1.5 * float(fg.mean())) / 4
    assert float(loss(batch)) == pytest.approx(total)


def test_batch_area_weighs_what_is_undecided() -> None:
    regions, features = regions_and_features()
    loss = region_losses.get("batch_area").model_validate({"area": 0.2, "undecided": 0.3})
    found = loss(RegionBatch(regions, [features], torch.zeros(4, dtype=torch.int64)))
    torch.testing.assert_close(found, batch_area(regions[:, 0], 0.2) + 0.3 * undecided(regions[:, 0]))


@pytest.mark.parametrize("both", [False, True])
def test_the_linear_layer_learns_from_the_background_where_it_is_said(both: bool) -> None:
    """Its gradient is that of the whole loss by a plain product, or of the cross entropy of the fg alone."""
    regions, features = regions_and_features()
    labels = torch.tensor([0, 3, 5, 1])
    head = nn.Linear(6, 7).double()
    loss = region_losses.get("trilite").model_validate({"alpha": 2.0, "bg_teaches_head": both})
    value = loss(RegionBatch(regions, [features], labels, head=head))
    found = torch.autograd.grad(value, head.weight)[0]
    weight = head.weight.detach().clone().requires_grad_(True)
    fg, bg = (region_means(regions, [features])[:, k] @ weight.T + head.bias.detach() for k in (0, 1))
    chosen = torch.nn.functional.cross_entropy(fg, labels)
    hidden = -(1 - bg.softmax(1)[torch.arange(4), labels]).log().mean()
    torch.testing.assert_close(value.detach(), (chosen + 2 * hidden).detach())
    expected = torch.autograd.grad(chosen + 2 * hidden if both else chosen, weight)[0]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "name some of bas, batch_area, c2am, trilite"),
        ({"crf": {}}, "not crf"),
        ({"trilite": {"beta": 1}}, "trilite.beta"),
        ({"batch_area": {"area": 2}}, "batch_area.area"),
    ],
)
def test_losses_that_there_are_not(named: dict[str, dict[str, float]], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        losses_of(named)
