"""Who may teach a masker for any classifier, who is chosen, and what comes out."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.signals import Interrupted
from maskwise.data import read_data
from maskwise.maskers import load_masker
from maskwise.training import Callback, TrainingState, recipes
from maskwise.training.fitting import Fitted, fit
from maskwise.training.teacher import Teacher
from maskwise.training.teachers import TEACHERS, judge_teachers, lesson, taught_by
from maskwise.training.validation import Validation


def small(name: str = "tiny") -> Classifier:
    return Classifier(tiny_net(), input_size=32, name=name)


def two_layers() -> Classifier:
    """A network without a class activation."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8),
    )  # fmt: skip
    return Classifier(net, input_size=32, name="two layers")


def taught(out: Path, own: Classifier | None = None, **more: object) -> Fitted:
    given = {"max_steps": 4, "overrides": ["batch_size=4", "width=4", "mix=4"], "device": "cpu"} | more
    return fit("shapes:n=20,size=40", own or small(), out=out, **given)  # type: ignore[arg-type]


def test_the_teacher_with_the_least_objective_is_distilled(tmp_path: Path) -> None:
    own = small()
    before = own.fingerprint()
    found = taught(tmp_path / "out", own)
    assert set(found.teachers) == set(TEACHERS) and found.flattened is None and found.steps == 4
    assert found.teacher is not None and found.teachers[found.teacher] == min(found.teachers.values())
    masker = load_masker(found.path, own)
    assert masker.class_tap and masker.finish.sharpness == 3 and own.fingerprint() == before
    assert found.centre.area == pytest.approx(found.masker.area, abs=0.1)
    written = recipes.load(tmp_path / "out" / "recipe.yaml")
    assert written.teacher == lesson(found.teacher, own) and written.pasted == 0.5


def test_a_teacher_that_the_network_does_not_allow_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = two_layers()
    validation = valid(own)
    with pytest.raises(InputError, match="pooling"):
        judge_teachers(own, validation, ["cam"])
    monkeypatch.setitem(TEACHERS, "both", ("excitation_backprop", "cam"))
    assert set(judge_teachers(own, validation, list(TEACHERS))) == {"excitation_backprop", "grad_cam"}
    found = taught(tmp_path / "out", own, teacher="grad_cam")
    assert found.teacher == "grad_cam" and list(found.teachers) == ["grad_cam"]
    masker = load_masker(found.path, own)
    assert not masker.needs_class and masker.finish.class_gate is None
    with pytest.raises(InputError, match="`teacher` 'nobody' is unknown: auto, none, excitation_backprop"):
        taught(tmp_path / "b", own, teacher="nobody")
    assert not (tmp_path / "b").exists()


def test_a_teacher_whose_maps_are_all_flat_teaches_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ordered by their index alone, the pixels of a picture may well make the best masks."""
    own, maps = small(), Teacher.__call__

    def planned(self: Teacher, images: Sequence[Tensor], classes: Sequence[int]) -> Tensor:
        found = maps(self, images, classes)
        return torch.zeros_like(found) if list(self.explainers) == ["grad_cam"] else found

    monkeypatch.setattr(Teacher, "__call__", planned)
    assert set(judge_teachers(own, valid(own), list(TEACHERS))) == {"excitation_backprop", "both"}
    with pytest.raises(InputError, match="grad_cam are flat"):
        taught(tmp_path / "out", own, teacher="grad_cam")


def test_any_method_may_teach(tmp_path: Path) -> None:
    found = taught(tmp_path / "out", teacher="layer_cam")
    assert found.teacher == "layer_cam"
    assert list(recipes.load(tmp_path / "out" / "recipe.yaml").teacher.views) == ["layer_cam"]


def test_excitation_is_gated_where_the_network_knows_of_classes() -> None:
    assert lesson("excitation_backprop", small()).class_gate == 0.3
    assert lesson("excitation_backprop", two_layers()).class_gate is None
    assert lesson("both", small()).class_gate is None and taught_by("both", two_layers()).pasted == 0
    assert lesson("grad_cam", small()).smooth == pytest.approx(32 * 8 / 224, abs=0.01)


def valid(own: Classifier) -> Validation:
    data = read_data("shapes:n=6,size=40,labels=own")
    return Validation([(data, r) for r in data.records], [0, 1, 2, 3, 4, 0], own, 32)


def test_settings_of_the_recipe_reach_the_teacher(tmp_path: Path) -> None:
    """What is set is taken, and the rest of the lesson stays."""
    own = small()
    recipe = taught_by("both", own, ["teacher.smooth=3", "pasted=0.25"])
    assert recipe.teacher == lesson("both", own).model_copy(update={"smooth": 3.0}) and recipe.pasted == 0.25
    with pytest.raises(InputError, match="steps"):
        taught(tmp_path / "a", own, max_steps=0)


def test_a_map_is_judged_by_its_order_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean objective of the highest fifth, third and half, written out; a brighter map is judged alike."""
    own = small()
    validation = valid(own)
    maps = torch.rand(6, 32, 32, generator=torch.Generator().manual_seed(1))

    def judged(given: Tensor) -> float:
        left = iter(given.split(6))
        monkeypatch.setattr(Teacher, "__call__", lambda self, images, classes: next(left))
        return judge_teachers(own, validation, ["grad_cam"])["grad_cam"]

    by_hand = []
    for count in (205, 341, 512):  # of 1,024
        least = maps.flatten(1).sort(1).values[:, -count]
        by_hand.append(validation.quality((maps >= least[:, None, None]).float()).objective)
    assert judged(maps) == pytest.approx(sum(by_hand) / 3, abs=1e-5)
    assert judged(maps.sqrt()) == pytest.approx(judged(maps), abs=1e-6)


def test_masks_are_judged_at_the_size_that_they_are_asked_for_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    class Watched(Validation):
        def __init__(self, *given: object) -> None:
            super().__init__(*given)  # type: ignore[arg-type]
            sizes.append(tuple(self.images.shape[-2:]))

    monkeypatch.setattr("maskwise.training.fitting.Validation", Watched)
    taught(tmp_path / "a", size=40)
    taught(tmp_path / "b", size=40, teacher="none", overrides=["batch_size=4"])
    assert sizes == [(32, 32), (40, 40)]


class Stop(Callback):
    def on_step(self, state: TrainingState) -> None:
        if state.step == 2:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_fit_that_goes_on_keeps_its_teacher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = taught(tmp_path / "a")
    with pytest.raises(Interrupted, match="after step 2, which is saved"):
        taught(tmp_path / "b", callbacks=[Stop()])
    resumed = taught(tmp_path / "b", resume=True)
    assert resumed.teacher == whole.teacher and resumed.path.read_bytes() == whole.path.read_bytes()
    assert list(resumed.teachers) == [whole.teacher], "the others are not asked again"
