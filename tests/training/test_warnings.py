"""Early warnings: told once, when it is true, and not when it only looks like it."""

import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import tiny_net

from maskwise.classifiers import Classifier
from maskwise.training import Recipe, TrainingState, train
from maskwise.training.mask import MaskTrainer
from maskwise.training.meter import Meter
from maskwise.training.watch import warnings as early
from maskwise.training.watch.warnings import (
    PATIENCE,
    CleanAccuracy,
    EarlyWarning,
    Extent,
    Skipped,
    WaitsForPictures,
    early_warnings,
)


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
    assert "lambda_r was too large" in line and "a smaller one (`overrides=" in line


def test_full_masks_ask_for_a_larger_lambda() -> None:
    (line,) = told([0.99] * PATIENCE)
    assert line.startswith("since step 1 masks fill the picture (mean 0.99)")
    assert "lambda_r was too small" in line and "a larger one (`overrides=" in line


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
    monkeypatch.setattr(early, "PATIENCE", 4)
    recipe = Recipe(steps=9, epochs=1, fraction=1.0, batch_size=4, input_size=32)
    classifier = Classifier(tiny_net(), input_size=32)
    with pytest.warns(UserWarning, match="since step 2 masks are empty") as caught:
        train(recipe, picture_folder, classifier=classifier, out=tmp_path / "m", device="cpu")
    assert sum("masks are empty" in str(w.message) for w in caught) == 1


# ---- clean accuracy, waiting, skipped steps ---------------------------------------------------------------------


def said(warning: EarlyWarning, lines: list[dict[str, float]]) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step, line in enumerate(lines, 1):
            warning.see(step, line)
    assert [str(w.message) for w in caught] == warning.told
    return warning.told


def test_a_fall_of_clean_accuracy_is_told_of_once_when_a_whole_window_is_below_four_fifths() -> None:
    """0.625, then 0.25: after k new steps the last fifty's mean is 0.625 - 0.375 k/50, below 0.5 from k = 17 on."""
    (line,) = said(CleanAccuracy(), [{"right": 0.625}] * 120 + [{"right": 0.25}] * 80)
    assert line.startswith("at step 137 the classifier is right on 50% of the clean pictures, on 62% in its first 50")
    assert "classifier_lr" in line and "batch_norm=frozen" in line


@pytest.mark.parametrize("lines", [[0.75] * 50 + [0.0] * 49, [0.75] * 60 + [0.61] * 200, [0.5] * 50 + [0.9] * 100])
def test_accuracy_that_is_known_too_little_or_keeps_up_is_left_alone(lines: list[float]) -> None:
    assert said(CleanAccuracy(), [{"right": value} for value in lines]) == []


def test_steps_without_an_accuracy_do_not_count() -> None:
    skipped = [{"skipped": 1.0}] * 60
    assert said(CleanAccuracy(), [*skipped, *[{"right": 0.5}] * 70, *skipped]) == []


def test_what_was_seen_before_an_interruption_counts_and_is_not_told_again() -> None:
    first, second, third = CleanAccuracy(), CleanAccuracy(), CleanAccuracy()
    assert not said(first, [{"right": 0.8}] * 50 + [{"right": 0.2}] * 30)
    second.load_state_dict(first.state_dict())
    assert len(said(second, [{"right": 0.2}] * 20)) == 1
    third.load_state_dict(second.state_dict())
    third.see(101, {"right": 0.2})
    assert third.told == second.told


@pytest.mark.parametrize(("waited", "steps", "count"), [(0.31, 50, 1), (0.31, 49, 0), (0.3, 200, 0), (0.9, 200, 1)])
def test_waiting_for_pictures_is_told_of_with_what_to_do(waited: float, steps: int, count: int) -> None:
    warning = WaitsForPictures()
    state = TrainingState(SimpleNamespace(steps=1), Path(), 300, waited=waited)  # type: ignore[arg-type]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(steps):
            warning.on_step(state)
    assert len(caught) == len(warning.told) == count
    for line in warning.told:
        assert line.startswith(f"{100 * waited:.0f}% of the time")
        assert all(words in line for words in ("`workers`", "`cache_gib`", "maskwise pack"))


def test_the_first_skipped_step_is_told_of() -> None:
    (line,) = said(Skipped(), [{"loss": 1.0}, {"skipped": 1.0}, {"skipped": 1.0}])
    assert line.startswith("step 2 gave NaN and was skipped")


def test_only_a_classifier_that_adapts_can_forget() -> None:
    kinds = {thinning: {type(w) for w in early_warnings(Recipe(thinning=thinning))} for thinning in ("F", "L100")}
    assert CleanAccuracy in kinds["L100"] and CleanAccuracy not in kinds["F"]
    assert {Extent, WaitsForPictures, Skipped} <= kinds["F"]


def test_every_line_of_the_log_is_seen_where_many_are_read_at_once() -> None:
    """Beside a GPU twenty steps are read together; the steps between two reads bring none."""
    extent = Extent(0.4)
    state = TrainingState(SimpleNamespace(steps=1), Path(), 300)  # type: ignore[arg-type]
    with pytest.warns(UserWarning, match="since step 3 masks are empty"):
        for block in range(4):
            state.fresh = [{"step": s, "area": 0.5 if s < 3 else 0.001} for s in range(20 * block + 1, 20 * block + 21)]
            extent.on_step(state)
            state.fresh = []
            extent.on_step(state)
