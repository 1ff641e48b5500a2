"""Pixel-adaptive refinement: by loops, on two colours, as a masker's finish, and in ONNX."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.maskers import Masker
from maskwise.maskers.finish import Finish
from maskwise.maskers.pamr import affinities, neighbours, pamr
from maskwise.training import recipes


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_one_round_by_loops() -> None:
    """Each pixel's neighbours at two distances, their softmax, and the deviation over all windows with the centre."""
    image, mask, dilations = random(3, 6, 7), random(6, 7, seed=1), (1, 3)
    expected = np.zeros((6, 7))
    for y in range(6):
        for x in range(7):
            places = [
                (min(max(y + d * i, 0), 5), min(max(x + d * j, 0), 6), i == j == 0)
                for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1)
            ]  # fmt: skip
            colours = np.array([image[:, v, u].numpy() for v, u, _ in places])
            deviation = colours.std(0, ddof=1)
            near = [(v, u) for v, u, centre in places if not centre]
            unlike = [
                np.mean(np.abs(image[:, v, u].numpy() - image[:, y, x].numpy()) / (0.1 * deviation + 1e-8))
                for v, u in near
            ]
            weights = np.exp(-np.array(unlike))
            expected[y, x] = (weights / weights.sum()) @ np.array([float(mask[v, u]) for v, u in near])
    found = pamr(mask[None], image[None], 1, dilations)[0]
    np.testing.assert_allclose(found.numpy(), expected, rtol=1e-9)
    twice = pamr(found[None], image[None], 1, dilations)
    torch.testing.assert_close(pamr(mask[None], image[None], 2, dilations), twice)


def test_two_colours_keep_their_masks_apart() -> None:
    """A mask that leaks over the border of two colours is smoothed within each, and nothing crosses."""
    image = torch.full((1, 3, 40, 40), 0.2, dtype=torch.float64)
    image[..., 20:] = 0.9
    mask = torch.zeros(1, 40, 40, dtype=torch.float64)
    mask[..., :20] = random(1, 40, 20)
    found = pamr(mask, image)
    assert found[..., 20:].max() < 0.01 and found[..., :20].min() > 0.2
    assert found[..., :20].std() < 0.2 * mask[..., :20].std()
    flat = pamr(mask, torch.full_like(image, 0.5))
    assert flat[..., 20:].max() > 0.2, "without an edge it does cross"


def test_weights_are_means_and_a_constant_stays() -> None:
    image = random(2, 3, 30, 20)
    torch.testing.assert_close(affinities(image).sum(1), torch.ones(2, 30, 20, dtype=torch.float64))
    flat = torch.full((2, 30, 20), 0.3, dtype=torch.float64)
    torch.testing.assert_close(pamr(flat, image), flat)
    assert neighbours(image[:, 0]).shape == (2, 48, 30, 20)


def test_masks_of_several_classes_are_refined_each() -> None:
    image, masks = random(2, 3, 12, 12), random(2, 3, 12, 12, seed=4)
    together = pamr(masks, image, 3)
    for k in range(3):
        torch.testing.assert_close(together[:, k], pamr(masks[:, k], image, 3))


def masker(rounds: int) -> tuple[Masker, Classifier]:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    torch.manual_seed(0)
    return Masker.build(classifier, finish=Finish(pamr=rounds)).eval(), classifier


def test_a_finish_refines_after_training_alone() -> None:
    images = random(2, 3, 32, 32).float()
    plain, refined = masker(0)[0], masker(4)[0]
    with torch.no_grad():
        torch.testing.assert_close(refined(images)[1], pamr(plain(images)[1], images, 4))
        _, taps = refined.encoder.features(images)
        classes = torch.zeros(2, 1, dtype=torch.int64)
        assert torch.equal(refined.ungated(images, taps, classes), plain.ungated(images, taps, classes))


def test_the_recipe_s_word() -> None:
    assert Finish.of(dict(recipes.load("casm", ["pamr=10"]))).pamr == 10
    assert Finish.of(dict(recipes.load("regions_lite0"))).pamr == 0
    with pytest.raises(InputError):
        recipes.load("distilled", ["pamr=-1"])


def test_it_is_a_part_of_the_onnx_graph(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from maskwise.exporting import export

    refined, _ = masker(2)
    assert export(refined, tmp_path / "m.onnx").difference < 1e-4
