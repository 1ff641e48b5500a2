"""Distillation for any classifier: who may teach, who is chosen, and what comes out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import read_data
from maskwise.maskers import load_masker
from maskwise.training.distilled import TEACHERS, distilled, judge_teachers
from maskwise.training.teacher import Teacher
from maskwise.training.validation import Validation


def two_layers() -> Classifier:
    """A network without a class activation."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, padding=1), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 8),
    )  # fmt: skip
    return Classifier(net, input_size=32, name="two layers")


def test_the_teacher_with_the_least_objective_is_chosen_and_distilled(tmp_path: Path) -> None:
    own = Classifier(tiny_net(), input_size=32, name="tiny")
    before = own.fingerprint()
    settings = ["batch_size=4", "width=4", "mix=4"]
    kept, held_out = [read_data("shapes:n=12,size=40")], [read_data("shapes:n=6,size=40,seed=3")]
    found = distilled(kept, held_out, own, out=tmp_path / "out", size=32, steps=4, overrides=settings, device="cpu")
    assert set(found.teachers) == set(TEACHERS)
    assert found.teachers[found.teacher].objective == min(q.objective for q in found.teachers.values())
    masker = load_masker(found.path, own)
    assert masker.class_tap and masker.finish.sharpness == 3 and own.fingerprint() == before
    assert found.centre.area == pytest.approx(found.masker.area, abs=0.1)


def test_a_teacher_that_the_network_does_not_allow_is_passed_over(tmp_path: Path) -> None:
    own = two_layers()
    data = read_data("shapes:n=6,size=40,labels=own")
    validation = Validation([(data, r) for r in data.records], [0] * 6, own, 32)
    assert set(judge_teachers(own, validation, list(TEACHERS))) == {"excitation", "grad_cam"}
    with pytest.raises(InputError, match="pooling"):
        judge_teachers(own, validation, ["cam"])
    with pytest.raises(InputError, match="choose among"):
        distilled([data], [data], own, out=tmp_path / "out", size=32, teacher="nobody")
    found = distilled(
        [data], [data], own, out=tmp_path / "out", size=32, teacher="grad_cam", steps=2, device="cpu",
        overrides=["batch_size=2"],
    )  # fmt: skip
    assert found.teacher == "grad_cam" and not load_masker(found.path, own).needs_class


def test_masks_are_cut_at_their_mean(monkeypatch: pytest.MonkeyPatch) -> None:
    """A teacher whose map is a ramp keeps the upper half: seen is a picture whose left half is the mean colour."""
    own = Classifier(tiny_net(), input_size=32)
    data = read_data("shapes:n=2,size=32")
    validation = Validation([(data, r) for r in data.records], [0, 0], own, 32)
    ramp = torch.linspace(0, 1, 56).expand(2, 56, 56)
    monkeypatch.setattr(Teacher, "__call__", lambda self, images, classes: ramp[: len(images)])
    assert judge_teachers(own, validation, ["cam"])["cam"].area == pytest.approx(0.5, abs=0.02)
