"""A loss or a weight that is no number: stop with the step's evidence, or take the step back and count it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from faults.killable import log_of
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.training import Callback, Recipe, TrainingState, train
from maskwise.training.loader import generator
from maskwise.training.mask import MaskTrainer
from maskwise.training.meter import Meter

RECIPE = Recipe(
    epochs=4, fraction=1.0, batch_size=4, input_size=32, thinning="L100", seed=3, p_history=0.5, pool_size=2
)


def run(out: Path, **options: Any) -> Path:
    """12 steps."""
    classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    settings: dict[str, Any] = {"checkpoint_every": 2, "device": "cpu", **options}
    return train(RECIPE, "shapes:n=12,size=40,labels=own", classifier=classifier, out=out, **settings)


def poison(monkeypatch: pytest.MonkeyPatch, steps: set[int], how: Callable[[MaskTrainer], None]) -> list[Tensor]:
    """Breaks these steps (counted from 1) after they were done; collects their pictures."""
    healthy, seen = MaskTrainer.train_step, list[Tensor]()

    def train_step(self: MaskTrainer, images: Tensor, labels: Tensor) -> Meter:
        meter = healthy(self, images, labels)
        if self.steps in steps:
            seen.append(images.clone())
            how(self)
            if how is spoil_loss:
                meter.sums["loss"] = torch.tensor([float("nan"), 4.0])
        return meter

    monkeypatch.setattr(MaskTrainer, "train_step", train_step)
    return seen


def spoil_loss(trainer: MaskTrainer) -> None:
    """The loss is NaN, and weights and statistics have moved already."""
    with torch.no_grad():
        for weight in trainer.masker_parameters:
            weight.mul_(3)
        trainer.live.module[1].running_mean.fill_(float("nan"))  # type: ignore[index, union-attr, operator]


def spoil_weight(trainer: MaskTrainer) -> None:
    """The loss is a number, and one weight is not."""
    with torch.no_grad():
        trainer.masker_parameters[0].view(-1)[0] = float("inf")


@pytest.mark.parametrize("how", [spoil_loss, spoil_weight])
def test_stop_saves_the_step(
    how: Callable[[MaskTrainer], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = poison(monkeypatch, {5}, how)
    with pytest.raises(InputError, match="NaN at step 5, whose pictures are in .*nan_step"):
        run(tmp_path)
    saved = load_file(tmp_path / "nan_step.safetensors")
    assert torch.equal(saved["images"], seen[0]) and saved["labels"].shape == (4,)
    with safe_open(tmp_path / "nan_step.safetensors", framework="pt") as stored:
        facts = stored.metadata()
    taken = RECIPE.model_copy(update={"classifier": "tiny"})  # the recipe as it was run
    assert (facts["step"], facts["seed"]) == ("5", "3")
    assert json.loads(facts["recipe"]) == taken.model_dump(mode="json")
    assert facts["step_seed"] == str(generator(3, 2, 4).initial_seed())
    assert {"generator", "generator.pool"} <= saved.keys()
    assert [line["step"] for line in log_of(tmp_path)] == [1, 2, 3, 4]
    assert not (tmp_path / "masker.safetensors").exists()
    monkeypatch.undo()
    resumed = run(tmp_path, resume=True)
    assert resumed.read_bytes() == run(tmp_path / "straight").read_bytes(), "the checkpoint before it is good"


@pytest.mark.parametrize("how", [spoil_loss, spoil_weight])
def test_skip_leaves_everything_as_before_the_step(
    how: Callable[[MaskTrainer], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against a training whose fifth and sixth steps do nothing but count."""
    with monkeypatch.context() as patch:
        poison(patch, {5, 6}, how)
        with pytest.warns(UserWarning, match="2 steps gave NaN and were skipped"):
            found = run(tmp_path / "a", on_nan="skip")
    assert [line["step"] for line in log_of(tmp_path / "a") if "skipped" in line] == [5, 6]
    healthy = MaskTrainer.train_step

    def idle(self: MaskTrainer, images: Tensor, labels: Tensor) -> Meter:
        if self.steps in (4, 5):
            self.steps += 1
            meter = Meter(self.fabric)
            meter.add({"loss": torch.zeros(())}, len(images))
            return meter
        return healthy(self, images, labels)

    with monkeypatch.context() as patch:
        patch.setattr(MaskTrainer, "train_step", idle)
        expected = run(tmp_path / "b")
    assert found.read_bytes() == expected.read_bytes()
    assert [x for x in log_of(tmp_path / "a") if x["step"] > 6] == [x for x in log_of(tmp_path / "b") if x["step"] > 6]


def test_skipping_changes_nothing_where_all_is_well(tmp_path: Path) -> None:
    assert run(tmp_path / "a", on_nan="skip").read_bytes() == run(tmp_path / "b").read_bytes()


def test_resumed_between_skips_equals_never_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of three in a row lie before the checkpoint that is gone on from: they count."""
    poison(monkeypatch, {3, 4, 7, 8}, spoil_loss)
    with pytest.warns(UserWarning):
        straight = run(tmp_path / "a", on_nan="skip", nan_limit=3)

    class Crash(Callback):
        def on_step(self, state: TrainingState) -> None:
            if state.step == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "b", on_nan="skip", nan_limit=3, callbacks=[Crash()])
    with pytest.warns(UserWarning, match="4 steps"):
        resumed = run(tmp_path / "b", on_nan="skip", nan_limit=3, resume=True)
    assert resumed.read_bytes() == straight.read_bytes() and log_of(tmp_path / "a") == log_of(tmp_path / "b")


def test_too_many_in_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    poison(monkeypatch, {2, 4, 5, 6, 7}, spoil_loss)
    with pytest.raises(InputError, match="3 times in a row, at step 6"):
        run(tmp_path, on_nan="skip", nan_limit=3)
    with pytest.raises(InputError, match="3 times in a row, at step 6"):
        run(tmp_path, on_nan="skip", nan_limit=3, resume=True)
    with pytest.raises(InputError, match="stop or skip"):
        run(tmp_path / "b", on_nan="ignore")


def test_pictures_that_can_t_be_read_end_a_run_and_a_resumed_one_goes_on(tmp_path: Path) -> None:
    """What the reader's thread raises arrives; the checkpoint before it is good."""
    from maskwise.data import read_data

    data, healthy = read_data("shapes:n=12,size=40,labels=own"), type(read_data("shapes:n=1,size=40")).image
    reads: list[int] = []

    def image(self: Any, record: Any) -> Tensor:
        reads.append(1)
        if len(reads) == 30:
            raise InputError("00.png: the picture is damaged")
        return healthy(self, record)

    classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(data), "image", image)
        with pytest.raises(InputError, match="damaged"):
            train(
                RECIPE, data, classifier=classifier, out=tmp_path / "a", checkpoint_every=2, device="cpu", cache_gib=0
            )  # fmt: skip
    resumed = train(RECIPE, data, classifier=classifier, out=tmp_path / "a", device="cpu", resume=True)
    assert resumed.read_bytes() == run(tmp_path / "b").read_bytes()
