"""Training the infiller: its holes, its loss against loops over pixels, and whole runs on a tiny classifier."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import end_at, tiny_net
from lightning.fabric import Fabric
from safetensors.torch import load_file

from maskwise.classifiers import Classifier
from maskwise.infill import infiller
from maskwise.infill.holes import blobs, random_holes
from maskwise.infill.pyramid import smooth_fill
from maskwise.training import recipes, train
from maskwise.training.draws import generator
from maskwise.training.infiller import InfillerRecipe, InfillerTrainer, variation

SMALL = InfillerRecipe(steps=6, batch_size=4, input_size=32, seed=1)


def trainer(recipe: InfillerRecipe = SMALL) -> InfillerTrainer:
    return InfillerTrainer(Classifier(tiny_net(), input_size=32), recipe, 5, Fabric(accelerator="cpu", devices=1))


def test_holes_are_drawn_from_their_generator_and_have_their_area() -> None:
    first, again, other = (random_holes(40, 48, torch.Generator().manual_seed(s), soft=0.5) for s in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.shape == (40, 48, 48) and first.amin() == 0 and first.amax() == 1
    hard = ((first == 0) | (first == 1)).all((1, 2))
    assert 0.5 < hard.float().mean() < 0.95, "some are soft"
    area = first.mean((1, 2))
    assert area.min() < 0.15 and area.max() > 0.6 and area.max() < 0.95


def test_a_blob_s_area_is_within_its_bounds() -> None:
    area = blobs(50, 40, torch.Generator().manual_seed(0), (0.3, 0.4), 0.0).mean((1, 2))
    assert area.min() > 0.29 and area.max() < 0.41


def test_the_loss_is_its_formula() -> None:
    g = torch.Generator().manual_seed(0)
    painted, images = torch.rand(2, 3, 5, 6, generator=g), torch.rand(2, 3, 5, 6, generator=g)
    holes = (torch.rand(2, 1, 5, 6, generator=g) < 0.4).float()
    holes[0, 0, 0, 0] = 0.3
    terms = trainer().losses(painted, images, holes)
    p, x, h = (a.double().numpy() for a in (painted, images, holes))
    whole = p * h + x * (1 - h)
    sums = dict.fromkeys(("hole", "valid", "down", "right"), 0.0)
    for n in range(2):
        for c in range(3):
            for i in range(5):
                for j in range(6):
                    distance = abs(p[n, c, i, j] - x[n, c, i, j])
                    sums["hole"] += h[n, 0, i, j] * distance
                    sums["valid"] += (1 - h[n, 0, i, j]) * distance
                    for name, k, m in (("down", i + 1, j), ("right", i, j + 1)):
                        if k < 5 and m < 6:
                            touched = max(h[n, 0, i, j], h[n, 0, k, m])
                            sums[name] += touched * abs(whole[n, c, i, j] - whole[n, c, k, m])
    assert terms["hole"].item() == pytest.approx(sums["hole"] / 180)
    assert terms["valid"].item() == pytest.approx(sums["valid"] / 180)
    assert terms["tv"].item() == pytest.approx(sums["down"] / (6 * 4 * 6) + sums["right"] / (6 * 5 * 5))
    assert set(terms) == {"hole", "valid", "tv"}, "terms of weight 0 cost nothing"
    assert variation(images, torch.zeros(2, 1, 5, 6)) == 0


def test_the_perceptual_term_is_zero_for_the_picture_itself_and_leaves_the_classifier_alone() -> None:
    made = trainer(SMALL.model_copy(update={"perceptual_weight": 0.05}))
    before = made.classifier.fingerprint()
    images = torch.rand(4, 3, 32, 32)
    assert made.perceptual(torch.cat([images, images]), images) < 1e-6
    assert made.perceptual(torch.cat([images, 1 - images]), images) > 1e-3
    assert made.step(images, torch.zeros(4))["perceptual"] > 0
    assert made.classifier.fingerprint() == before
    assert all(p.grad is None for p in made.classifier.parameters())


def test_steps_lower_the_loss_and_begin_at_the_smooth_fill() -> None:
    made = trainer(SMALL.model_copy(update={"steps": 60, "soft_holes": 0.0}))
    stripes = (torch.arange(32) // 2 % 2).float().expand(4, 3, 32, 32).contiguous()
    first = made.step(stripes, torch.zeros(4))
    holes = random_holes(4, 32, generator(1, 3, 0))[:, None]
    smooth = smooth_fill(stripes, 1 - holes, made.classifier.mean.reshape(1, 3, 1, 1))
    expected = ((smooth - stripes).abs() * holes).mean() / holes.mean()
    assert first["in_hole"] == pytest.approx(expected.item(), rel=1e-4)
    later = [made.step(stripes, torch.zeros(4))["in_hole"] for _ in range(40)]
    assert np.mean(later[-8:]) < 0.7 * np.mean(later[:8]), "it learns that the stripes go on"


def test_a_run_stopped_and_resumed_equals_one_that_was_not(picture_folder: Path, tmp_path: Path) -> None:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    whole = train(SMALL, picture_folder, classifier=classifier, out=tmp_path / "a", device="cpu")
    options = {"classifier": classifier, "out": tmp_path / "b", "device": "cpu", "checkpoint_every": 2}
    train(SMALL, picture_folder, callbacks=[end_at(4)], **options)  # type: ignore[arg-type]
    resumed = train(SMALL, picture_folder, resume=True, **options)  # type: ignore[arg-type]
    a, b = load_file(whole), load_file(resumed)
    assert whole.name == "infiller.safetensors" and a.keys() == b.keys()
    assert all(torch.equal(a[key], b[key]) for key in a)
    log = [json.loads(line) for line in (tmp_path / "b" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [1, 2, 3, 4, 5, 6]
    images, holes = torch.rand(1, 3, 40, 24), (torch.rand(1, 40, 24) < 0.5).float()
    fill = infiller(f"partial_conv:weights={whole}")(images, holes, torch.full((3,), 0.5))
    assert fill.isfinite().all()


def test_the_recipe_round_trips(tmp_path: Path) -> None:
    recipe = recipes.load("infiller", ["lr=0.01"])
    assert isinstance(recipe, InfillerRecipe) and recipe.lr == 0.01
    (tmp_path / "again.yaml").write_text(recipes.dump(recipe))
    assert recipes.load(tmp_path / "again.yaml") == recipe
