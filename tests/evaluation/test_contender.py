"""Contenders on disk: a function or class that was edited has no old rows, and one that can't be read has none."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise import SESS
from maskwise.checks.map_store import map_key
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.evaluation import Contender, measure
from maskwise.explainers import explainer
from maskwise.explainers.base import Explainer, methods
from maskwise.infill.base import Infiller
from maskwise.maskers import ClassMasker, Masker, save_masker
from maskwise.measures import Metric, metric
from maskwise.measures.filling import fill_of

DATA = "shapes:n=4,size=40,labels=own"
IMAGES = torch.zeros(1, 3, 32, 32)


@pytest.fixture
def judge() -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=32, name="tiny")


def plain(power: float) -> Any:
    return lambda images, targets: images.mean(1) ** power


def by_class(power: float) -> type[Explainer]:
    class Mine(Explainer):
        def map(self, images: Tensor, targets: Any) -> Tensor:
            return images.mean(1) ** power

    return Mine


def made(kind: str, power: float, judge: Classifier) -> Any:
    if kind == "class":
        return by_class(power)(judge)
    if kind == "adapted":
        return explainer(plain(power), judge)
    return SESS(plain(power), judge, scales=2) if kind == "sess" else plain(power)


def area(folder: Path, explain: Any, judge: Classifier) -> tuple[float, int]:
    found = measure([Contender.of("mine", explain)], judge, [DATA], {"area": metric("area")}, out=folder)
    return float(next(v for k, v in found.statistics.items() if k[2] == "area").mean()), found.seen["mine"]


@pytest.mark.parametrize("kind", ["function", "class", "adapted", "sess"])
def test_an_edited_one_has_no_old_rows(kind: str, judge: Classifier, tmp_path: Path) -> None:
    first = area(tmp_path, made(kind, 1.0, judge), judge)
    assert area(tmp_path, made(kind, 1.0, judge), judge) == (first[0], 0), "the same one finds its rows"
    edited = area(tmp_path, made(kind, 3.0, judge), judge)
    assert edited[0] != first[0] and edited[1] == 4
    keys = [map_key(Subject.of(made(kind, power, judge), judge), IMAGES) for power in (1.0, 1.0, 3.0)]
    assert keys[0] == keys[1] != keys[2]


class Powered(Explainer):
    def __init__(self, classifier: Classifier, power: float = 1.0) -> None:
        super().__init__(classifier)
        self.power = power

    def map(self, images: Tensor, targets: Any) -> Tensor:
        return images.mean(1) ** self.power


def powered(judge: Classifier) -> Explainer:
    found = Powered(judge)
    found.power = 3.0
    return found


def altered(judge: Classifier, **attributes: Any) -> Explainer:
    found = explainer("rise", judge, masks=10)
    for name, value in attributes.items():
        setattr(found, name, value)
    return found


def test_what_was_set_is_known_however_it_was_set(judge: Classifier) -> None:
    """By a constructor that no registry called, and on an explainer that was there already."""
    rise = methods.get("rise")
    explainers = [
        Powered(judge), Powered(judge, 2.0), powered(judge), rise(judge, masks=10), rise(judge, masks=20),
        altered(judge), altered(judge, masks=20), altered(judge, normalise=False), altered(judge, map=plain(2.0)),
        SESS(Powered(judge), judge, scales=2), SESS(Powered(judge, 2.0), judge, scales=2),
        SESS(SESS(plain(1.0), judge, scales=2), judge, scales=2),
        SESS(SESS(plain(2.0), judge, scales=2), judge, scales=2),
    ]  # fmt: skip
    filed = [Contender.of("it", one).filed for one in explainers]
    assert all(a != b for i, a in enumerate(filed) for b in filed[:i])
    assert filed[5] == Contender.of("it", altered(judge)).filed and filed[0] == Contender.of("it", Powered(judge)).filed
    assert filed[11] == Contender.of("it", SESS(SESS(plain(1.0), judge, scales=2), judge, scales=2)).filed, "no address"


@pytest.mark.parametrize("name", [name for name, facts in methods.items() if not facts.get("needs_masker")])
def test_what_a_constructor_sets_is_nothing_that_was_set_since(name: str, judge: Classifier) -> None:
    """Else all rows of a method would be filed under another name than they are."""
    try:
        found = explainer(name, judge)
    except InputError:  # it needs a transformer, or a masker of this very classifier
        return
    contender = Contender.of(name, found)
    assert contender.unread is None and "changed" not in contender.filed


def test_an_explainer_of_another_classifier_has_rows_of_its_own(judge: Classifier, tmp_path: Path) -> None:
    found = []
    for shift in (0.0, 0.0, 1.0):
        other = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
        with torch.no_grad():
            next(other.module.parameters()).add_(shift)
        found.append(area(tmp_path, explainer("grad_cam", other), judge)[1])
        subject = Subject.of(explainer("grad_cam", other), judge)
        assert ("made for" in subject.identity) == bool(shift)
    assert found == [4, 0, 4]


class Times(nn.Module):
    def __init__(self, by: float) -> None:
        super().__init__()
        self._by, self.inner = by, tiny_net(classes=8)

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.inner(images) * self._by
        return found


def test_a_network_of_other_code_has_no_old_rows(tmp_path: Path) -> None:
    judges = [Classifier(Times(by), input_size=32, name="own") for by in (1.0, 1.0, 2.0)]
    assert len({judge.fingerprint() for judge in judges}) == 1, "the weights are the same"
    assert [area(tmp_path, explainer("grad_cam", judge), judge)[1] for judge in judges] == [4, 0, 4]
    keys = [map_key(Subject.of(explainer("grad_cam", judge), judge), IMAGES) for judge in judges]
    assert keys[0] == keys[1] != keys[2]
    judges[0].module.draws = torch.Generator()
    with pytest.warns(UserWarning, match="the content of Generator can't be read"):
        hidden = [judges[0].digest(), Classifier(judges[0].module, input_size=32, name="own").digest()]
    assert len(set(hidden)) == 2 and judges[1].digest() not in hidden


def share(bound: float) -> Metric:
    class Share(Metric):
        def per_image(self, maps: Tensor, **truth: Any) -> Tensor:
            return (maps > bound).double().mean((1, 2))[:, None]

    return Share()


def test_an_edited_metric_has_no_old_rows(judge: Classifier, tmp_path: Path) -> None:
    contender = Contender.of("mine", plain(1.0))
    found = [
        next(v for k, v in measure([contender], judge, [DATA], {"share": share(b)}, out=tmp_path).statistics.items()
             if k[2] == "share").mean().item()
        for b in (0.1, 0.1, 0.6)
    ]  # fmt: skip
    assert found[0] == found[1] != found[2]


def test_an_edited_infiller_has_no_old_rows() -> None:
    def text(value: float) -> str:
        @dataclass(frozen=True)
        class Flat(Infiller):
            def fill(self, images: Tensor, holes: Tensor, colour: Tensor) -> Tensor:
                return torch.full_like(images, value)

        return fill_of(Flat()).text()

    assert text(0.1) == text(0.1) != text(0.2)
    assert "code" not in fill_of("mean").text()


@pytest.mark.parametrize("method", ["casm", "dabkowski_gal", "excited_casm"])
def test_another_masker_at_the_same_path_has_no_old_rows(method: str, judge: Classifier, tmp_path: Path) -> None:
    """Of a packaged masker, too, which a new version of the package replaces."""
    kind = ClassMasker if method == "dabkowski_gal" else Masker
    filed = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        save_masker(tmp_path / "it.safetensors", kind.build(judge), judge, {})
        filed.append(Contender.of("it", explainer(method, judge, masker=str(tmp_path / "it.safetensors"))).filed)
    assert filed[0] == filed[1] != filed[2]


def test_one_that_can_not_be_read_is_measured_and_not_kept(judge: Classifier, tmp_path: Path) -> None:
    draws = torch.Generator().manual_seed(0)

    def noise(images: Tensor, targets: Tensor) -> Tensor:
        return torch.rand(len(images), *images.shape[-2:], generator=draws)

    contender = Contender.of("noise", noise)
    for _ in range(2):
        with pytest.warns(UserWarning, match="noise: the content of Generator can't be read, so its rows are not kept"):
            found = measure([contender], judge, [DATA], {"area": metric("area")}, out=tmp_path, save_maps=True)
        measured = {key for _, _, key in found.statistics if not key.startswith("warning ")}
        assert found.seen["noise"] == 4 and measured == {"area", "seconds", "megabytes"}
    assert not list(tmp_path.rglob("*.npz"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure([contender], judge, [DATA], {"area": metric("area")})
    assert map_key(Subject.of(noise, judge), IMAGES) != map_key(Subject.of(noise, judge), IMAGES)
