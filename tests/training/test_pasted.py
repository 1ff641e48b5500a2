"""A second picture pasted in: by hand, one picture at a time, and what a masker learns from it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net
from lightning.fabric import Fabric
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.training import recipes
from maskwise.training.distil import DistilRecipe, DistilTrainer
from maskwise.training.draws import generator
from maskwise.training.pasted import SIDES, pasted


def batch(count: int = 6, side: int = 32) -> tuple[Tensor, Tensor, Tensor]:
    draws = torch.Generator().manual_seed(1)
    maps = (torch.rand(count, side, side, generator=draws) > 0.5).float()
    return torch.rand(count, 3, side, side, generator=draws), maps, torch.tensor([0, 1, 2, 3, 1, 2])[:count]


def test_each_pair_by_hand() -> None:
    """Pictures 0 to 2 get pictures 3 to 5; 1 and 4 are of one class, which is wanted on both of them."""
    images, maps, labels = batch()
    for seed in range(20):
        found, wanted, classes = pasted(images, maps, labels, 0.5, generator(seed))
        changed = (found != images).any(1)
        assert not changed[3:].any() and torch.equal(wanted[3:], maps[3:, None].repeat(1, 2, 1, 1))
        assert classes.tolist() == [[0, 3], [1, 1], [2, 2], [3, 3], [1, 1], [2, 2]]
        for k in range(3):
            rows, columns = changed[k].any(1).nonzero()[:, 0], changed[k].any(0).nonzero()[:, 0]
            (y0, y1), (x0, x1) = ((int(line[0]), int(line[-1]) + 1) for line in (rows, columns))
            side = y1 - y0
            assert side == x1 - x0 and SIDES[0] * 32 - 1 <= side <= SIDES[1] * 32 + 1
            small = F.interpolate(
                torch.cat([images[k + 3], maps[k + 3, None]])[None], (side, side), mode="bilinear", antialias=True
            )[0]
            picture, whole, guest = images[k].clone(), maps[k].clone(), torch.zeros(32, 32)
            picture[:, y0:y1, x0:x1] = small[:3]
            whole[y0:y1, x0:x1] = 0
            guest[y0:y1, x0:x1] = small[3]
            torch.testing.assert_close(found[k], picture)
            if labels[k] == labels[k + 3]:
                whole = guest = whole + guest
            torch.testing.assert_close(wanted[k], torch.stack([whole, guest]))


def test_of_oblong_pictures_the_pasted_one_is_oblong_too() -> None:
    draws = torch.Generator().manual_seed(1)
    images, maps = torch.rand(2, 3, 20, 60, generator=draws), torch.zeros(2, 20, 60)
    for seed in range(10):
        found, _, _ = pasted(images, maps, torch.tensor([0, 1]), 0.5, generator(seed))
        changed = (found[0] != images[0]).any(0)
        tall, wide = int(changed.any(1).sum()), int(changed.any(0).sum())
        assert abs(wide - 3 * tall) <= 2 and SIDES[0] * 60 - 1 <= wide <= SIDES[1] * 60 + 1


def test_places_and_sizes_differ_and_reach_every_border() -> None:
    images, maps, labels = batch()
    covered = torch.zeros(32, 32)
    sides = set()
    for seed in range(200):
        found, _, _ = pasted(images, maps, labels, 0.5, generator(seed))
        there = (found[0] != images[0]).any(0)
        covered += there
        sides.add(int(there.any(0).sum()))
    assert covered[0].max() > 0 and covered[-1].max() > 0 and covered[:, 0].max() > 0 and covered[:, -1].max() > 0
    assert min(sides) <= 13 and max(sides) >= 20


@pytest.mark.parametrize(("count", "share", "pairs"), [(6, 0.0, 0), (6, 1.0, 6), (1, 1.0, 0), (5, 0.5, 3)])
def test_how_many(count: int, share: float, pairs: int) -> None:
    images, maps, labels = batch(count)
    found, wanted, classes = pasted(images, maps, labels, share, generator(0))
    assert int((found != images).flatten(1).any(1).sum()) == pairs
    assert wanted.shape == (count, 2, 32, 32) and classes.shape == (count, 2)


def test_the_loss_asks_for_both_classes() -> None:
    """Of the batch as it is composed, by the masker's own probabilities."""
    recipe = DistilRecipe(width=4, mix=6, input_size=32, batch_size=6, steps=4, pasted=0.5)
    trainer = DistilTrainer(Classifier(tiny_net(), input_size=32), recipe, 4, Fabric(accelerator="cpu", devices=1))
    images, maps, labels = batch()
    both, wanted, classes = pasted(images, maps, labels, 0.5, generator(recipe.seed, 0, 0))
    with torch.no_grad():
        taps = trainer.masker.encoder.features(both)[1]
        masks = trainer.masker.logits_of(taps, (32, 32), classes).sigmoid()
    cells = wanted.reshape(6, 2, 8, 4, 8, 4).mean((3, 5))
    expected = -(cells * masks.log() + (1 - cells) * (1 - masks).log()).mean()
    logged = trainer.step(torch.cat([images, maps[:, None]], 1), labels)
    assert logged["loss"] == pytest.approx(float(expected), abs=1e-5)


def test_each_step_pastes_anew() -> None:
    recipe = DistilRecipe(width=4, mix=6, input_size=32, batch_size=6, steps=4, pasted=0.5)
    trainer = DistilTrainer(Classifier(tiny_net(), input_size=32), recipe, 4, Fabric(accelerator="cpu", devices=1))
    images, maps, labels = batch()
    seen: list[Tensor] = []
    features = trainer.features
    trainer.features = lambda pictures: seen.append(pictures.clone()) or features(pictures)  # type: ignore[func-returns-value]
    for step in range(2):
        trainer.step(torch.cat([images, maps[:, None]], 1), labels)
        expected, _, _ = pasted(images, maps, labels, 0.5, generator(recipe.seed, step, 0))
        torch.testing.assert_close(seen[step], expected)
    assert not torch.equal(seen[0], seen[1])


def test_it_needs_a_masker_that_knows_the_class() -> None:
    with pytest.raises(InputError, match="class_tap"):
        recipes.load("distilled", ["pasted=0.5", "class_tap=false"])
