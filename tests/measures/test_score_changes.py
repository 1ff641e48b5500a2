"""Single deletion, MuFidelity and infidelity on a linear network, whose losses can be written down, and by loops."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.metrics import infidelity as captum_infidelity
from conftest import tiny_net
from scipy.stats import spearmanr
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.correlation import spearman
from maskwise.core.errors import InputError
from maskwise.infill import infiller
from maskwise.measures import metric
from maskwise.measures.filling import fill_of
from maskwise.measures.infidelity import changes, infidelity
from maskwise.measures.mu_fidelity import mu_fidelity, random_subsets
from maskwise.measures.single_deletion import cell_drops, cell_numbers, single_deletion

SIDE = 20
DRAWS = torch.Generator().manual_seed(8)
IMAGES = torch.rand(3, 3, SIDE, SIDE, generator=DRAWS)
MAPS = torch.rand(3, SIDE, SIDE, generator=DRAWS)
WEIGHTS = torch.randn(SIDE, SIDE, generator=DRAWS) / SIDE
TINY = Classifier(tiny_net(), input_size=SIDE, name="tiny")
CLASS = torch.zeros(3, dtype=torch.int64)


def linear() -> Classifier:
    """Class 0 has the logit sum(w x) of the normalised picture, one weight a pixel; class 1 has 0."""
    layer = nn.Conv2d(3, 2, SIDE)
    with torch.no_grad():
        layer.bias.zero_()  # type: ignore[union-attr]
        layer.weight[0], layer.weight[1] = WEIGHTS.expand(3, -1, -1), 0
    return Classifier(nn.Sequential(layer, nn.Flatten()), input_size=SIDE, name="linear")


LINEAR = linear()
EVIDENCE = LINEAR.normalise(IMAGES).sum(1).detach() * WEIGHTS  # what each pixel adds to the logit


def test_spearman_is_scipy_s_with_ties_and_0_of_a_flat_row() -> None:
    a = torch.randint(0, 6, (20, 15), generator=DRAWS).float()
    b = torch.rand(20, 15, generator=DRAWS)
    expected = [spearmanr(x, y).statistic for x, y in zip(a.numpy(), b.numpy(), strict=True)]
    assert spearman(a, b).tolist() == pytest.approx(expected, abs=1e-12)
    assert spearman(torch.ones(1, 15), b[:1], flat=0.0).tolist() == [0]


def test_cells_are_equal_parts() -> None:
    assert cell_numbers(20, 20, 4).flatten().bincount().tolist() == [25] * 16
    assert set(cell_numbers(10, 7, 4).flatten().bincount().tolist()) <= {2, 3, 4, 5, 6}
    assert cell_numbers(20, 20, 4)[5:10, 15:].unique().tolist() == [7]


@pytest.mark.parametrize(("height", "width", "cells"), [(224, 224, 9), (10, 7, 4), (5, 5, 2)])
def test_cells_that_do_not_divide_a_picture_are_those_of_the_nearest_enlargement(
    height: int, width: int, cells: int
) -> None:
    grid = torch.arange(cells**2, dtype=torch.float64).reshape(1, 1, cells, cells)
    enlarged = F.interpolate(grid, (height, width), mode="nearest")[0, 0]
    assert torch.equal(cell_numbers(height, width, cells), enlarged.long())


def test_single_deletion_of_a_linear_network_by_what_its_pixels_add_is_1() -> None:
    fill = fill_of("mean")
    drops = cell_drops(LINEAR, IMAGES, fill, CLASS)
    summed = EVIDENCE.reshape(3, 4, 5, 4, 5).sum((2, 4)).flatten(1).double()
    assert torch.allclose(drops, summed, atol=1e-4)
    assert single_deletion(LINEAR, IMAGES, EVIDENCE, fill, CLASS).tolist() == pytest.approx([1, 1, 1])
    assert single_deletion(LINEAR, IMAGES, -EVIDENCE, fill, CLASS).tolist() == pytest.approx([-1, -1, -1])
    assert single_deletion(LINEAR, IMAGES, torch.full_like(MAPS, 0.3), fill, CLASS).tolist() == [0, 0, 0]
    size = summed.abs().float().reshape(3, 4, 4).repeat_interleave(5, 1).repeat_interleave(5, 2)
    assert single_deletion(LINEAR, IMAGES, size, fill, CLASS, signed=False).tolist() == pytest.approx([1, 1, 1])
    assert max(single_deletion(LINEAR, IMAGES, size, fill, CLASS).tolist()) < 0.99


def test_single_deletion_equals_the_copies_made_one_by_one() -> None:
    paint, category = infiller("noisy_linear"), TINY.logits(IMAGES).argmax(1)
    expected = []
    for image, m, c in zip(IMAGES, MAPS, category.tolist(), strict=True):
        whole, drops, sums = float(TINY.logits(image[None]).detach()[0, c]), [], []
        for row in range(0, SIDE, 5):
            for column in range(0, SIDE, 5):
                hole = torch.zeros(1, SIDE, SIDE)
                hole[0, row : row + 5, column : column + 5] = 1
                copy = paint(image[None], hole, TINY.mean)
                drops.append(whole - float(TINY.logits(copy).detach()[0, c]))
                sums.append(float(m[row : row + 5, column : column + 5].sum()))
        expected.append(spearmanr(drops, sums).statistic)
    rows = metric("idsds", TINY, fill="noisy_linear").per_image(MAPS, images=IMAGES)
    assert rows[:, 0].tolist() == pytest.approx(expected, abs=1e-9)


def test_mu_fidelity_of_a_linear_network_is_1_and_of_its_opposite_minus_1() -> None:
    """With two classes the probability rises with the logit, so ranks of its losses are those of the logit's."""
    subsets, fill = random_subsets(60, 4, 0.2), fill_of("mean")
    for maps, expected in ((EVIDENCE, 1.0), (-EVIDENCE, -1.0), (torch.ones_like(MAPS) * 0, 0.0)):
        found = mu_fidelity(LINEAR, IMAGES, maps, subsets, fill, CLASS)
        assert found.tolist() == pytest.approx([expected] * 3, abs=0.01)
    assert metric("mu_fidelity", LINEAR, subsets=60, cells=4, target="class").per_image(
        EVIDENCE, images=IMAGES, targets=CLASS
    )[:, 0].tolist() == pytest.approx([1] * 3, abs=0.01)


def test_mu_fidelity_equals_the_copies_made_one_by_one() -> None:
    subsets, category = random_subsets(12, 5, 0.3, seed=1), TINY.logits(IMAGES).argmax(1)
    assert 0.2 < float(random_subsets(2000, 9, 0.2).double().mean()) * 1.05 < 0.22
    for image, m, c, found in zip(
        IMAGES, MAPS, category.tolist(), mu_fidelity(TINY, IMAGES, MAPS, subsets, fill_of("mean")), strict=True
    ):
        whole, drops, sums = float(TINY.logits(image[None]).detach().double().softmax(1)[0, c]), [], []
        for subset in subsets:
            hole = subset.reshape(5, 5).repeat_interleave(4, 0).repeat_interleave(4, 1)
            copy = torch.where(hole, TINY.mean[:, None, None], image)[None]
            drops.append(whole - float(TINY.logits(copy).detach().double().softmax(1)[0, c]))
            sums.append(float(m[hole].double().sum()))
        assert float(found) == pytest.approx(spearmanr(drops, sums).statistic, abs=1e-9)


def test_a_seed_draws_sets_of_its_own_and_the_same_again() -> None:
    by_seed = {seed: random_subsets(30, 5, 0.3, seed) for seed in (0, 1)}
    assert not torch.equal(by_seed[0], by_seed[1])
    for seed, subsets in by_seed.items():
        asked = metric("mu_fidelity", TINY, subsets=30, cells=5, share=0.3, seed=seed)
        expected = mu_fidelity(TINY, IMAGES, MAPS, subsets, fill_of("mean"))
        assert asked.per_image(MAPS, images=IMAGES)[:, 0].tolist() == expected.tolist()


@pytest.mark.parametrize("kind", ["square", "gaussian"])
def test_infidelity_of_a_linear_network_by_its_weights_is_0_at_any_scale(kind: str) -> None:
    weights = WEIGHTS.expand(3, -1, -1)
    for maps in (weights, 40 * weights):
        assert infidelity(LINEAR, IMAGES, maps, CLASS, kind).max() < 1e-8  # type: ignore[arg-type]
    plain = infidelity(LINEAR, IMAGES, 3 * weights, CLASS, kind, scaled=False)  # type: ignore[arg-type]
    size = infidelity(LINEAR, IMAGES, torch.zeros(3, SIDE, SIDE), CLASS, kind)  # type: ignore[arg-type]
    assert torch.allclose(plain, 4 * size, rtol=1e-3), "(3 d - d)^2 is four times d^2, which a map of zeros leaves"
    assert (infidelity(LINEAR, IMAGES, MAPS, CLASS, kind) <= size * (1 + 1e-9)).all()  # type: ignore[arg-type]


def test_infidelity_equals_the_copies_made_one_by_one() -> None:
    category = TINY.logits(IMAGES).argmax(1)
    mean, std = TINY.mean, TINY.std
    for i, found in enumerate(infidelity(TINY, IMAGES, MAPS, samples=15, seed=2)):
        told, lost = [], []
        for taken in changes(IMAGES[i], mean, std, "square", 15, 0.2, 2):
            normal = TINY.normalise(IMAGES[i : i + 1])
            logits = [float(TINY.module(x).detach()[0, category[i]]) for x in (normal, normal - taken)]
            lost.append(logits[0] - logits[1])
            told.append(float((taken * MAPS[i]).sum()))
        told, lost = np.array(told), np.array(lost)
        errors = [np.mean((b * told - lost) ** 2) for b in np.linalg.lstsq(told[:, None], lost, rcond=None)[0]]
        assert float(found) == pytest.approx(errors[0], rel=1e-4)


def test_squares_are_squares_and_leave_the_mean_colour() -> None:
    taken = changes(IMAGES[0], TINY.mean, TINY.std, "square", 4000, 0.2, 0)
    inside = taken.abs().sum(1) > 0
    sides = {(int(m.any(1).sum()), int(m.any(0).sum())) for m in inside}
    assert all(h == w for h, w in sides) and {h for h, _ in sides} == set(range(1, 7)), "10/32 of 20 is 6"
    at_32 = changes(torch.zeros(3, 32, 32), TINY.mean, TINY.std, "square", 500, 0.2, 0).abs().sum(1) > 0
    assert set(at_32.any(1).sum(1).tolist()) == set(range(1, 11)), "1 to 10 pixels, as the paper's of 28 or 32"
    assert (inside.sum((1, 2)) == inside.any(1).sum(1) * inside.any(2).sum(1)).all()
    assert inside.any(0).all(), "they reach every pixel"
    left = IMAGES[0] - taken * TINY.std[:, None, None]
    assert torch.allclose(left[0].permute(1, 2, 0)[inside[0]], TINY.mean, atol=1e-6)
    noise = changes(IMAGES[0], TINY.mean, TINY.std, "gaussian", 50, 0.3, 0)
    assert float(noise.std()) == pytest.approx(0.3, rel=0.02)


def test_options_that_make_no_sense_are_refused() -> None:
    for name, options in (
        ("idsds", {"cells": 1}), ("idsds", {"fill": "none"}), ("mu_fidelity", {"share": 0}),
        ("mu_fidelity", {"share": 1}),
        ("mu_fidelity", {"subsets": 1}), ("infidelity", {"kind": "round"}), ("infidelity", {"samples": 1}),
        ("infidelity", {"sigma": 0}), ("infidelity", {"seed": -1}),
    ):  # fmt: skip
        with pytest.raises(InputError):
            metric(name, TINY, **options)
    with pytest.raises(InputError, match="must fit"):
        metric("idsds", TINY).per_image(MAPS[:2], images=IMAGES)


@pytest.mark.parametrize("kind", ["square", "gaussian"])
@pytest.mark.parametrize("scaled", [True, False])
def test_infidelity_is_captum_s_given_the_same_changes(kind: str, scaled: bool) -> None:
    """Its perturbation gives (I, x - I) of pictures that are repeated one after another; `normalize` is its beta."""
    taken = torch.cat([changes(image, TINY.mean, TINY.std, kind, 12, 0.2, 4) for image in IMAGES])  # type: ignore[arg-type]
    normal = TINY.normalise(IMAGES)
    expected = captum_infidelity(
        lambda x: TINY.module(x).double(),
        lambda x: (taken, x - taken),
        normal,
        MAPS[:, None].expand(-1, 3, -1, -1),
        target=CLASS,
        n_perturb_samples=12,
        max_examples_per_batch=None,
        normalize=scaled,
    )
    found = infidelity(TINY, IMAGES, MAPS, CLASS, kind, samples=12, seed=4, scaled=scaled)  # type: ignore[arg-type]
    assert found.tolist() == pytest.approx(expected.tolist(), rel=1e-3)
