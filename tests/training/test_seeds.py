"""Seeds of a teacher's map: where they may be, how they are drawn, and what is learned from them."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from scipy.ndimage import binary_erosion
from taught import classifier
from torch import Tensor

from maskwise.maskers import load_masker
from maskwise.training import Callback, TrainingState, train
from maskwise.training.distil import DistilRecipe, DistilTrainer
from maskwise.training.seeds import drawn_seeds, on_seeds, seed_loss, seed_regions
from maskwise.training.teacher import Lesson, TeacherView


def test_regions_of_a_hill_by_opencv_and_scipy() -> None:
    y, x = np.mgrid[0:112, 0:112]
    hill = np.exp(-((y - 50) ** 2 + (x - 60) ** 2) / 400) + 0.3 * np.random.default_rng(0).random((112, 112))
    grey = (255 * hill / hill.max()).round().astype(np.uint8)
    threshold, _ = cv2.threshold(grey, 0, 255, cv2.THRESH_BINARY + cv2.THRESH_OTSU)
    found = seed_regions(torch.from_numpy(grey / 255.0)[None])[0].numpy()
    # 11 of 224 pixels are 5 of 112 (an odd number has a middle).
    assert np.array_equal(found == 1, binary_erosion(grey > threshold, np.ones((5, 5))))
    assert np.array_equal(found == 0, grey <= np.sort(grey.ravel())[round(0.1 * grey.size) - 1])
    assert set(np.unique(found)) == {0.0, 0.5, 1.0}


def test_the_border_erodes_nothing_and_a_map_of_one_value_says_nothing() -> None:
    maps = torch.zeros(2, 56, 56)
    maps[0, :20, :20] = 1
    maps[1] = 0.3
    found = seed_regions(maps)
    assert torch.equal(found[0] == 1, F.pad(torch.ones(19, 19), (0, 37, 0, 37)) > 0)
    assert torch.equal(found[0] == 0, maps[0] == 0), "all are the lowest"
    assert (found[1] == 0.5).all()
    full = torch.ones(1, 56, 56)
    full[0, :, -2:] = 0  # fewer than a tenth
    assert torch.equal(seed_regions(full) == 0, full == 0) and (seed_regions(full)[0, :, :-3] == 1).all()
    coarse = torch.zeros(1, 14, 14)
    coarse[0, 4:8, 4:8] = 1
    assert torch.equal(seed_regions(coarse) == 1, coarse == 1), "less than a place of so coarse a grid"


def test_one_seed_of_each_kind_in_its_region() -> None:
    regions = torch.full((40, 2, 30, 20), 0.5)
    regions[:, 0, 5:12, 3:9] = 1
    regions[:, 0, 20:, :] = 0
    regions[:, 1, 0, 0] = 1  # and no background: at the corner 2x2 are left of it
    regions[:, 1, 15, 10] = 0.4  # resized: not wholly background
    found = drawn_seeds(regions, torch.Generator().manual_seed(0))
    assert set(found.unique().tolist()) == {0.0, 0.5, 1.0}
    assert ((found[:, 0] == 1).sum((1, 2)) == 9).all()
    middles = {tuple(one.nonzero().float().mean(0).int().tolist()) for one in found[:, 0] == 1}
    assert all(5 <= y < 12 and 3 <= x < 9 for y, x in middles) and len(middles) > 20, "drawn anew for each"
    low = found[:, 0] == 0
    assert (low.sum((1, 2)) >= 4).all() and (low.sum((1, 2)) <= 9).all() and not low[:, :19].any()
    assert (found[:, 1] == 1).sum((1, 2)).tolist() == [4] * 40 and not (found[:, 1] == 0).any()
    again = drawn_seeds(regions, torch.Generator().manual_seed(0))
    other = drawn_seeds(regions, torch.Generator().manual_seed(1))
    assert torch.equal(found, again) and not torch.equal(found, other)


def test_the_loss_by_hand() -> None:
    logits = torch.tensor([[[[2.0, -1.0], [0.5, 3.0]]]], requires_grad=True)
    seeds = torch.tensor([[[[1.0, 0.25], [0.5, 0.5]]]])  # one wholly covered, one by half
    loss = seed_loss(logits, seeds)
    by_hand = (-np.log(1 / (1 + np.exp(-2))) - 0.5 * np.log(1 - 1 / (1 + np.exp(1)))) / 1.5
    loss.backward()
    assert float(loss.detach()) == pytest.approx(by_hand)
    assert logits.grad is not None and (logits.grad[0, 0, 1] == 0).all() and (logits.grad[0, 0, 0] != 0).all()
    assert float(on_seeds(torch.ones(1, 1, 2, 2), torch.full((1, 1, 2, 2), 0.5))) == 0, "no seed"


def test_an_object_is_learned_from_its_seeds_alone() -> None:
    """What a tap tells is learned on pictures of which each step says two places; a lone spot of noise is eroded."""
    recipe = DistilRecipe(
        teacher=Lesson(views={"cam": TeacherView()}), target="seeds", taps=(1,), decoder="added", class_tap=False,
        width=8, weight_decay=0.0, masker_lr=0.03, steps=200, batch_size=32, input_size=32, crop_area=(0.4, 1.0),
    )  # fmt: skip
    trainer = DistilTrainer(classifier(), recipe, 200, Fabric(accelerator="cpu", devices=1))
    draws = torch.Generator().manual_seed(0)

    def scenes(count: int) -> tuple[Tensor, Tensor]:
        images, there = torch.rand(count, 3, 32, 32, generator=draws) * 0.2, torch.zeros(count, 32, 32)
        for i in range(count):
            top, left = torch.randint(2, 14, (2,), generator=draws).tolist()
            there[i, top : top + 16, left : left + 16] = 1
        return images + 0.7 * there[:, None], there

    images, there = scenes(96)
    noisy = there.clone()
    noisy[:, 0, 0] = 1  # outside of every object
    regions = seed_regions(noisy.repeat_interleave(4, 1).repeat_interleave(4, 2))[:, 2::4, 2::4]
    regions[:, 0, 0] = 0.5
    assert trainer.recipe.target == "seeds"
    for _ in range(200):
        drawn = torch.randperm(96, generator=draws)[:32]
        told = trainer.step(torch.cat([images[drawn], regions[drawn, None]], 1), torch.zeros(32, dtype=torch.int64))
    trainer.masker.eval()
    images, there = scenes(32)
    with torch.no_grad():
        found = trainer.masker(images)[1] > 0.5
    overlap = (found & (there > 0)).sum() / (found | (there > 0)).sum()
    assert overlap > 0.75, float(overlap)
    assert told["off"] < 0.3


def test_seeds_are_drawn_anew_in_each_step() -> None:
    recipe = DistilRecipe(target="seeds", width=4, mix=6, head_std=0.5, masker_lr=1e-12, input_size=32)
    trainer = DistilTrainer(classifier(), recipe, 4, Fabric(accelerator="cpu", devices=1))
    draws = torch.Generator().manual_seed(0)
    regions = torch.rand(4, 1, 32, 32, generator=draws).round()
    batch = torch.cat([torch.rand(4, 3, 32, 32, generator=draws), regions], 1)
    losses = sorted(trainer.step(batch, torch.zeros(4, dtype=torch.int64))["loss"] for _ in range(4))
    assert all(high - low > 1e-4 for low, high in itertools.pairwise(losses)), losses


def test_from_the_teacher_s_maps_to_a_masker(picture_folder: Path, tmp_path: Path) -> None:
    """With pictures pasted into others, too; every step is shown places of its own, and as many again."""
    shown: list[Tensor] = []

    class Watch(Callback):
        def on_step(self, state: TrainingState) -> None:
            trainer = state.trainer
            assert isinstance(trainer, DistilTrainer)
            values = torch.cat([one.flatten() for one in trainer.maps.values()])
            assert set(values.unique().tolist()) <= {0.0, 0.5, 1.0} and (values == 1).any() and (values == 0).any()
            shown.append(torch.tensor([state.logged["wanted"], state.logged["off"], state.logged["loss"]]))

    for share in (0.0, 0.5):
        recipe = DistilRecipe(
            teacher=Lesson(views={"cam": TeacherView()}), target="seeds", pasted=share, width=4, mix=6, input_size=32,
            batch_size=4, steps=4, crop_area=(0.4, 1.0), title="seeds",
        )  # fmt: skip
        file = train(
            recipe,
            picture_folder,
            classifier=classifier(),
            out=tmp_path / str(share),
            device="cpu",
            callbacks=[Watch()],
        )
        assert load_masker(file, classifier()) is not None
    assert len(shown) == 8 and torch.stack(shown).isfinite().all()
    assert all(0.4 < float(wanted) < 0.6 and 0.2 < float(off) < 0.8 for wanted, off, _ in shown)
