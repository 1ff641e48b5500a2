"""Rows on disk are found again only by who would get the same ones: each case differs in one thing that counts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import tiny_net
from torch import Tensor

import maskwise as mw
from maskwise.checks.map_store import map_key
from maskwise.checks.subject import Subject
from maskwise.classifiers import Classifier
from maskwise.data.difficult import DifficultCases
from maskwise.evaluation import Contender, Settings, measure
from maskwise.evaluation.measured import Measured
from maskwise.measures import Metric, metric

DATA = "shapes:n=5,size=48,seed=3,labels=own"
NAMES = [f"class {i}" for i in range(8)]


def tiny(size: int | tuple[int, int] = 32, labels: list[str] = NAMES) -> Classifier:
    return Classifier(tiny_net(classes=8), input_size=size, labels=labels, name="tiny")


def by_class(images: Tensor, targets: Tensor) -> Tensor:
    """A map whose mean is the class."""
    return (targets / 10)[:, None, None].expand(-1, *images.shape[-2:])


def go(
    judge: Classifier,
    out: Path | None,
    explainer: Any = by_class,
    ask: dict[str, Metric] | None = None,
    **settings: Any,
) -> Measured:
    asked = ask or {"area": metric("area"), "deletion": metric("deletion", judge)}
    return measure([Contender.of("c", explainer)], judge, [DATA], asked, Settings(**settings), out)


def same_as_without_a_disk(first: dict[str, Any], second: dict[str, Any], out: Path) -> None:
    """A run after another one in the same folder has the rows that it has alone, and they are not the other's."""
    old = go(out=out, **first)
    fresh, found = go(out=None, **second), go(out=out, **second)
    differs = False
    for key, rows in fresh.statistics.items():
        if key[2] not in ("seconds", "megabytes"):
            assert torch.equal(found.statistics[key].nan_to_num(-9), rows.nan_to_num(-9)), key
            differs |= not torch.equal(old.statistics[key].nan_to_num(-9), rows.nan_to_num(-9))
    assert differs  # else the case shows nothing


def test_a_class_by_name_is_another_one_where_labels_are_others(tmp_path: Path) -> None:
    first, second = ({"judge": tiny(labels=names), "target": "class 2"} for names in (NAMES, NAMES[::-1]))
    same_as_without_a_disk(first, second, tmp_path)


def test_a_class_by_name_and_by_index_is_one(tmp_path: Path) -> None:
    go(tiny(), tmp_path, target="class 2")
    for target in (2, "2", "class 2"):
        assert sum(go(tiny(), tmp_path, target=target).seen.values()) == 0


@pytest.mark.parametrize("other", [(32, 20), (20, 32), 20])
def test_the_same_network_at_another_size(other: int | tuple[int, int], tmp_path: Path) -> None:
    same_as_without_a_disk({"judge": tiny()}, {"judge": tiny(other)}, tmp_path)


@pytest.mark.parametrize("other", [(32, 20), 20])
def test_a_metric_of_the_same_network_at_another_size(other: int | tuple[int, int], tmp_path: Path) -> None:
    def asked(size: int | tuple[int, int]) -> dict[str, Any]:
        return {"judge": tiny(), "ask": {"deletion": metric("deletion", tiny(size))}, "explainer": by_brightness}

    same_as_without_a_disk(asked(32), asked(other), tmp_path)


def by_brightness(images: Tensor, targets: Tensor) -> Tensor:
    return images.mean(1)


def test_an_explainer_of_the_same_network_at_another_size(tmp_path: Path) -> None:
    judge = tiny()
    first, second = ({"judge": judge, "explainer": mw.explainer("grad_cam", tiny(size))} for size in (32, 16))
    same_as_without_a_disk(first, second, tmp_path)


def test_a_list_of_difficult_cases_that_was_edited(tmp_path: Path) -> None:
    """Also where the metric was made by hand and is not told the list's name."""
    ids = [key.rpartition("#")[0] for key in go(tiny(), None).pictures[DATA]]

    def case(classes: set[str]) -> dict[str, Any]:
        listed = {Path(one).stem: frozenset(classes) for one in ids}
        ask = {"pointing_difficult": metric("pointing_difficult", classes=8)}
        return {
            "judge": tiny(), "ask": ask, "explainer": by_brightness, "difficult": DifficultCases("mine", listed, False),
        }  # fmt: skip

    same_as_without_a_disk(case(set()), case({str(i) for i in range(8)}), tmp_path)


def test_maps_that_checks_keep(tmp_path: Path) -> None:
    images = torch.zeros(2, 3, 32, 32, dtype=torch.uint8)
    keys = [
        map_key(Subject.of(mw.explainer("grad_cam", one), one), images) for one in map(tiny, (32, 32, 20, (32, 20)))
    ]
    assert keys[0] == keys[1] and len(set(keys)) == 3
