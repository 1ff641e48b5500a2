"""Masks that have become empty or full are told of once, and those that only overshoot are not."""

import warnings
from pathlib import Path

import pytest
import torch
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.training import Recipe, train
from maskwise.training.extent import PATIENCE, Extent
from maskwise.training.mask import MaskTrainer
from maskwise.training.meter import Meter


def told(areas: list[float], target: float | None = 0.4, first: int = 1) -> list[str]:
    extent = Extent(target)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, area in enumerate(areas, first):
            extent.see(step, {"area": area})
    return [str(w.message) for w in caught]


def test_empty_masks_are_told_of_once_with_the_step_they_vanished_at() -> None:
    (line,) = told([0.5] * 7 + [0.001] * 3 * PATIENCE)
    assert line.startswith("since step 8 masks are empty (mean 0.001)")
    assert "lambda_r was too large" in line and "a smaller one (--set" in line


def test_full_masks_ask_for_a_larger_lambda() -> None:
    (line,) = told([0.99] * PATIENCE)
    assert line.startswith("since step 1 masks fill the picture (mean 0.99)")
    assert "lambda_r was too small" in line and "a larger one (--set" in line


@pytest.mark.parametrize(
    "areas",
    [
        [0.001] * (PATIENCE - 1) + [0.1] + [0.001] * (PATIENCE - 1),  # comes back
        [0.001] * (PATIENCE - 1) + [0.99] * (PATIENCE - 1),  # swings
        [0.025, 0.965] * PATIENCE,  # small and large, not empty and full
    ],
)
def test_masks_that_come_back_are_left_alone(areas: list[float]) -> None:
    assert told(areas) == []


def test_what_is_empty_follows_the_area_that_is_steered_to() -> None:
    small = [0.01] * PATIENCE
    assert told(small, target=0.4) and not told(small, target=0.1) and not told(small, target=None)


def test_a_training_says_so(picture_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else the step does; skipped steps and other kinds of training log no area."""

    def train_step(self: MaskTrainer, images: object, labels: object) -> Meter:
        self.steps += 1
        meter = Meter(self.fabric)
        meter.add({name: torch.zeros(()) for name in (("loss",) if self.steps == 1 else ("loss", "area"))}, 4)
        return meter

    monkeypatch.setattr(MaskTrainer, "train_step", train_step)
    monkeypatch.setattr("maskwise.training.extent.PATIENCE", 4)
    recipe = Recipe(steps=9, epochs=1, fraction=1.0, batch_size=4, input_size=32)
    classifier = Classifier(tiny_net(), input_size=32)
    with pytest.warns(UserWarning, match="since step 2 masks are empty") as caught:
        train(recipe, picture_folder, classifier=classifier, out=tmp_path / "m", device="cpu")
    assert sum("masks are empty" in str(w.message) for w in caught) == 1
