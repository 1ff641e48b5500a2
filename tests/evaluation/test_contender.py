"""Contenders on disk: a function or class that was edited has no old rows, and one that can't be read has none."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from torch import Tensor

from maskwise import SESS
from maskwise.checks.map_store import map_key
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.evaluation import Contender, measure
from maskwise.explainers import explainer
from maskwise.explainers.base import Explainer
from maskwise.maskers import ClassMasker, Masker, save_masker
from maskwise.measures import metric

DATA = "shapes:n=4,size=40,labels=own"


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
    keys = [map_key(Subject.of(made(kind, power, judge), judge)) for power in (1.0, 1.0, 3.0)]
    assert keys[0] == keys[1] != keys[2]


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
    assert map_key(Subject.of(noise, judge)) != map_key(Subject.of(noise, judge))
