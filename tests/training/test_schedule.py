"""Learning rates over a training: by hand, whatever the run's length is given in, and as they are logged."""

import json
import math
from pathlib import Path

import pytest
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.training import Recipe, recipes, train
from maskwise.training.base_recipe import BaseRecipe


def test_step_decay_counts_epochs() -> None:
    """17 epochs of 7 steps, a tenth after every 5: the first step at each rate is known."""
    recipe = BaseRecipe(epochs=17, lr_decay="step", lr_step_epochs=5)
    factors = [recipe.learning_rate_factor(step, 7) for step in range(17 * 7)]
    assert factors == pytest.approx([0.1 ** (step // 7 // 5) for step in range(17 * 7)], rel=1e-12)
    assert [factors.index(rate) for rate in sorted(set(factors), reverse=True)] == [0, 35, 70, 105]


def test_step_decay_of_so_many_steps_is_the_same_part_of_them() -> None:
    """300 steps on pictures of one step an epoch: as 17 epochs decay after 5, 10 and 15 of 17, these do, too."""
    recipe = BaseRecipe(epochs=17, steps=300, lr_decay="step", lr_step_epochs=5)
    factors = [recipe.learning_rate_factor(step, 1) for step in range(300)]
    first = [factors.index(rate) for rate in sorted(set(factors), reverse=True)]
    assert first == [0, math.ceil(300 * 5 / 17), math.ceil(300 * 10 / 17), math.ceil(300 * 15 / 17)]
    assert factors == [recipe.learning_rate_factor(step, 1000) for step in range(300)], "whatever an epoch is"
    assert min(factors) == pytest.approx(1e-3), "which it never falls below"


def test_cosine_decay() -> None:
    recipe = BaseRecipe(steps=8, lr_decay="cosine")
    found = [recipe.learning_rate_factor(step, 3) for step in (0, 2, 4, 6)]
    assert found == pytest.approx([1, 0.5 + math.sqrt(2) / 4, 0.5, 0.5 - math.sqrt(2) / 4], abs=1e-12)
    assert BaseRecipe(steps=8).learning_rate_factor(7, 3) == 1


def test_the_papers_schedules() -> None:
    """Phang A: 17 epochs, x0.1 every 5; final models 60 and 20; CASM's paper has no decay, its code 60 and 20."""
    schedules = {name: recipes.load(name) for name in ("phang/a", "phang/ca", "casm", "casm_released")}
    assert [(r.epochs, r.lr_decay, r.lr_step_epochs) for r in schedules.values()] == [
        (17, "step", 5), (60, "step", 20), (70, "none", 20), (60, "step", 20),
    ]  # fmt: skip


def test_every_line_of_the_log_holds_both_rates(picture_folder: Path, tmp_path: Path) -> None:
    """By hand: step n (from 1) was taken at the factor of step n-1."""
    recipe = Recipe(
        steps=6, epochs=3, lr_decay="step", lr_step_epochs=1, fraction=1, batch_size=4, input_size=32, p_history=0,
        masker_lr=2e-3, classifier_lr=5e-4,
    )  # fmt: skip
    train(recipe, picture_folder, classifier=Classifier(tiny_net(), input_size=32), out=tmp_path / "r", device="cpu")
    lines = [json.loads(line) for line in (tmp_path / "r" / "log.jsonl").read_text().splitlines()]
    factors = [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert [line["lr_masker"] for line in lines] == pytest.approx([2e-3 * f for f in factors], rel=1e-4)
    assert [line["lr_classifier"] for line in lines] == pytest.approx([5e-4 * f for f in factors], rel=1e-4)


def test_a_classifier_that_is_fixed_has_no_rate(picture_folder: Path, tmp_path: Path) -> None:
    recipe = Recipe(steps=1, thinning="F", fraction=1, batch_size=4, input_size=32)
    train(recipe, picture_folder, classifier=Classifier(tiny_net(), input_size=32), out=tmp_path / "r", device="cpu")
    line = json.loads((tmp_path / "r" / "log.jsonl").read_text())
    assert line["lr_masker"] == 1e-3 and "lr_classifier" not in line
