"""The leak check in an audit: of a masker that writes the class into a corner, of an honest one, and without labels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from audit.scenes import SIDE, reader, scenes
from evaluation.test_subjects import copied
from torch import Tensor, nn

from maskwise.audit import leak as leak_module
from maskwise.audit.finding import Criterion, Section
from maskwise.audit.leak import leak_part
from maskwise.audit.limits import Limits
from maskwise.audit.subject import AuditPlan, collect
from maskwise.audit.verdict import fit_to_show
from maskwise.checks import Labelled
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer
from maskwise.explainers.base import Explainer
from maskwise.explainers.masker import MaskerExplainer


class Corners(nn.Module):
    """A judge of two corners: the one that is not black says the class."""

    def forward(self, images: Tensor) -> Tensor:
        lit = [images[:, :, 0, 0].sum(1), images[:, :, 0, -1].sum(1)]
        return torch.stack([*lit, torch.full_like(lit[0], -1), torch.full_like(lit[0], -1)], 1)


class Planted(MaskerExplainer):
    """A masker in name: it keeps a corner, or all that is not ground."""

    def __init__(self, classifier: Classifier, leaks: bool) -> None:
        Explainer.__init__(self, classifier)
        self.leaks, self.masker = leaks, SimpleNamespace(encoder=classifier)  # type: ignore[assignment]
        self.identity["leaks"] = leaks
        corners = Classifier(Corners(), mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=classifier.labels)
        self.own = corners if leaks else classifier

    @property
    def judge(self) -> Classifier:
        return self.own

    def __call__(self, images: Tensor, targets: Any = None) -> Tensor:
        if not self.leaks:
            return ((images[:, 0] - images[:, 1]).abs() > 0.5).float()
        maps = torch.zeros(len(images), SIDE, SIDE)
        for own, green in zip(maps, (images[:, 1] > images[:, 2]).flatten(1).any(1), strict=True):
            own[0, -1 if green else 0] = 1
        return maps


def test_no_subject_trains_the_judge_and_is_asked_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pictures of each, one after another: every third subject is held out, not every third picture."""
    seen: dict[str, set[str | None]] = {}

    class EnoughError(Exception):
        pass

    def judged(classifier: Classifier, train: Labelled, *_: Any, **__: Any) -> Any:
        seen["train"] = set(train.subjects)
        return SimpleNamespace(classifier=classifier)

    def leaked(explainers: Any, classifier: Classifier, robust: Classifier, test: Labelled, **_: Any) -> Any:
        seen["test"] = set(test.subjects)
        raise EnoughError

    monkeypatch.setattr(leak_module, "robust_judge", judged)
    monkeypatch.setattr(leak_module, "leak", leaked)
    home = copied(scenes(tmp_path / "home", 24), tmp_path / "copies", 3)
    with pytest.raises(EnoughError):
        asked(home, tmp_path / "out", True)
    assert len(seen["test"]) == 8 and len(seen["train"]) == 16 and not seen["train"] & seen["test"]


def test_a_leak_held_out_on_one_subject_is_not_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one there is no interval, which is null in what is kept."""
    monkeypatch.setattr(leak_module, "robust_judge", lambda own, *_, **__: SimpleNamespace(classifier=own))
    home = scenes(tmp_path / "home", 60)
    files = sorted(file.name for file in (home / "images").iterdir())
    rows = [f"{file},{place * 3 // len(files)}" for place, file in enumerate(files)]
    (home / "subjects.csv").write_text("\n".join(["file,subject", *rows]) + "\n")
    section, (leaks,) = asked(home, tmp_path / "out", True)
    assert section.numbers["leak"].get("subjects") == 1, section.numbers
    assert all(gap["low"] is None for gap in section.numbers["leak"]["gaps"].values())
    assert leaks.holds is None and "[-, -]" in leaks.figure and "of 1 subject only" in leaks.figure


def asked(data: Path, out: Path, method: Any, limits: Limits | None = None) -> tuple[Section, list[Criterion]]:
    classifier = reader("object")
    section = Section("sanity", "")
    made = method if not isinstance(method, bool) else Planted(classifier, method)
    leak_part(collect(classifier, made, "planted", [str(data)], out, AuditPlan(limits=limits or Limits())), section)
    return section, section.criteria


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return scenes(tmp_path_factory.mktemp("leak") / "scenes", 72)


def test_a_planted_leaker_fails_and_an_honest_masker_holds(data: Path, tmp_path: Path) -> None:
    section, (leaks,) = asked(data, tmp_path / "l", True)
    assert leaks.name == "leak" and leaks.holds is False and leaks.of_explainer
    assert section.numbers["leak"]["test"] == 24 and section.numbers["leak"]["train"] == 48
    assert section.numbers["leak"]["borrowed"]["mean"] > 0.9 and "tell their own judge" in section.says[0]
    assert fit_to_show([leaks])[0] is False and "by their shape" in fit_to_show([leaks])[1]
    (again,) = asked(data, tmp_path / "l", True, Limits(leak=1.5))[1]  # from what is kept
    assert again.holds is True and "at most 1.5" in again.figure
    section, (honest,) = asked(data, tmp_path / "h", False)
    assert honest.holds is True and "none found" in section.says[0]
    assert fit_to_show([honest])[0] is True


def test_without_labels_it_is_not_known_and_of_other_methods_not_asked(data: Path, tmp_path: Path) -> None:
    bare = scenes(tmp_path / "bare", 62, boxes=False, labels=False)
    section, (unknown,) = asked(bare, tmp_path / "b", True)
    assert unknown.holds is None and "fewer than 60" in unknown.figure and "not asked" in section.says[0]
    assert fit_to_show([unknown])[0] is True  # what nobody asked does not decide
    section, criteria = asked(data, tmp_path / "g", explainer("gradient", reader("object")))
    assert not criteria and not section.says and not section.numbers
