"""Every option changes the map, the number or the fill, and how many go together in one forward does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
from conftest import tiny_net
from options.cases import (
    IMAGES,
    NOTHING_TO_SEE,
    SIDE,
    WITH_OPTIONS,
    companions,
    options_of,
    other_values,
    small,
    untrained_maskers,
)
from torch import Tensor

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.explainers import methods
from maskwise.infill import infiller, infillers
from maskwise.measures import metric, metrics


@pytest.fixture(scope="module")
def maskers(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    return untrained_maskers(tmp_path_factory.mktemp("maskers"))


def furthest(a: Tensor, b: Tensor) -> float:
    return float((a - b).abs().max()) if a.shape == b.shape else math.inf


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_each_option_of_a_method_changes_the_map_and_batch_does_not(name: str, maskers: Callable[[str], Path]) -> None:
    entry = methods.get(name)
    make, usual = small(name, maskers)
    hints = get_type_hints(entry.__init__)

    def maps(**options: Any) -> Tensor:
        return make(**options)(IMAGES, 1)

    for option, parameter in options_of(entry).items():
        others = companions(name, entry, option)
        if option in NOTHING_TO_SEE or (name, option) == ("cam", "layer"):  # which has one layer alone
            continue
        before = maps(**others)
        values = other_values(name, option, hints[option], usual.get(option, parameter.default))
        changed = [furthest(maps(**others | value), before) for value in values]
        if option == "batch":
            assert max(changed) <= 1e-5, "how many go together is nothing to see"
        else:
            assert max(changed) > 1e-7, f"{name}: {option} is of no effect at {values}"


DRAWS = torch.Generator().manual_seed(1)
# Each picture is one for an option of boxes: its map, and where its object is.
CASES: dict[str, tuple[list[tuple[int, int, int, int]], list[float]]] = {
    "connectivity": ([(4, 4, 12, 12), (12, 12, 20, 20)], [4, 4, 20, 20]),
    "box": ([(10, 10, 13, 13)], [10, 10, 13, 13]),
    "truth": ([(10, 10, 13, 13)], [10, 10, 12.9, 12.9]),
    "truth_area": ([(24, 0, 32, 32)], [24, 0, 60, 32]),
}
MAPS = torch.zeros(8, SIDE, SIDE)
for case, (squares, _) in enumerate(CASES.values()):
    for x0, y0, x1, y1 in squares:
        MAPS[case, y0:y1, x0:x1] = 1
MAPS[4] = torch.linspace(0, 1, SIDE)  # alpha: above half of the mean lies more
MAPS[5, 8:24, 8:24], MAPS[5, 8:12, 8:12] = 0.3, 1.0  # rule: a fifth of it is bright
MAPS[6:] = torch.rand(2, SIDE, SIDE, generator=DRAWS)
MAPS[6:, :12] = 0  # ties
MAPS[7] = 0  # empty: no box
BOXES = [*(box for _, box in CASES.values()), [16, 0, 32, 32], [8, 8, 24, 24], [3.7, 2.2, 20.5, 9.9], [8, 8, 31.5, 40]]
HALF = torch.zeros(SIDE, SIDE, dtype=torch.bool)
HALF[SIDE // 2 :] = True
SMALL = torch.zeros(SIDE, SIDE, dtype=torch.bool)
SMALL[4:9, 4:20] = True
TRUTH: dict[str, Any] = {
    "boxes": [torch.tensor([box]).float() for box in BOXES], "masks": HALF.expand(8, -1, -1).clone(),
    "images": torch.rand(8, 3, 4, 4, generator=DRAWS).repeat_interleave(8, 2).repeat_interleave(8, 3),
    "targets": torch.arange(8) % 5, "labels": torch.arange(8) % 5, "probabilities": torch.eye(5)[torch.arange(8) % 5],
    "regions": [{i % 5: SMALL, 9: HALF} if i % 2 else {i % 5: HALF} for i in range(8)],
}  # fmt: skip
FEW: dict[str, dict[str, Any]] = {
    "mu_fidelity": {"subsets": 12, "cells": 4}, "infidelity": {"samples": 8},
    **{key: {"step": 200} for key in ("insertion", "deletion", "insertion_deletion", "aopc")},
    **{key: {"percent": "30"} for key in ("road", "road_morf", "road_lerf")},
}  # fmt: skip


def rows(name: str, **options: Any) -> tuple[Tensor, Tensor]:
    """What a metric says of each picture, and of all."""
    classifier = Classifier(tiny_net(), input_size=SIDE, name="tiny") if metrics.get(name).needs_classifier else None
    made = metric(name, classifier, **FEW.get(name, {}) | options)
    truth = {key: TRUTH[key] for key in (*made.needs, *made.takes) if key in TRUTH}
    found = made.per_image(MAPS, **truth)
    number = made.value(found.nansum(0), torch.tensor(float(len(MAPS)), dtype=torch.float64))
    return found.nan_to_num(-1), number.nan_to_num(-1)


WITH_FILL = {"refill": {"fill": "colour_noise"}, "draws": {"fill": "colour_noise"}}


@pytest.mark.parametrize("name", [name for name in metrics.names() if options_of(metrics.get(name))])
def test_each_option_of_a_metric_changes_a_number_and_batch_does_not(name: str) -> None:
    entry = metrics.get(name)
    hints = get_type_hints(entry.__init__)
    for option, parameter in options_of(entry).items():
        if option == "cases":  # what the protocol calls a list
            continue
        others = companions(name, entry, option) | WITH_FILL.get(option, {})
        before, number = rows(name, **others)
        values = other_values(name, option, hints[option], FEW.get(name, {}).get(option, parameter.default))
        found = [rows(name, **others | value) for value in values]
        changed = [max(furthest(row, before), furthest(one, number)) for row, one in found]
        if option == "batch":
            assert max(changed) <= 1e-5
        else:
            assert max(changed) > 1e-7, f"{name}: {option} is of no effect at {values}"


@pytest.mark.parametrize("name", [n for n, facts in infillers.items() if not facts["network"]])
def test_each_option_of_an_infiller_changes_the_fill(name: str) -> None:
    entry = infillers.get(name)
    holes = torch.zeros(2, SIDE, 40)
    holes[:, 8:20, 10:30] = 1
    colour = torch.tensor([0.4, 0.5, 0.6])

    def fill(**options: Any) -> Tensor:
        torch.manual_seed(0)
        return infiller(name, **options)(IMAGES, holes, colour)

    for option, parameter in options_of(entry).items():
        if option == "generator":
            continue
        values = other_values(name, option, get_type_hints(entry.__init__)[option], parameter.default)
        assert max(furthest(fill(**value), fill()) for value in values) > 1e-7, f"{name}: {option}"


SESS_OTHERS: dict[str, list[Any]] = {
    "scales": [3, [48]], "prefilter": [0.5], "stride": [16], "theta": [0.05], "prune": [1.0], "budget": [6],
    "protocol": ["released"], "batch": [1, 5], "final_min_max": [False], "antialias": [False], "nan_safe": [False],
    "weights": ["softmax_max", "logit"],
}  # fmt: skip


def brightness(images: Tensor, targets: object) -> Tensor:
    """A map that a window of one colour has none of."""
    return images.mean(1)


@pytest.mark.parametrize("option", options_of(mw.SESS))
def test_each_option_of_sess_changes_the_map_and_batch_does_not(option: str) -> None:
    classifier = Classifier(tiny_net(), input_size=SIDE, name="tiny")
    images = torch.rand(2, 3, 70, 80, generator=torch.Generator().manual_seed(0))
    images[:, :, :50] = 0.5
    usual: dict[str, Any] = {} if option == "budget" else {"scales": 4}
    parameter, hint = options_of(mw.SESS)[option], get_type_hints(mw.SESS.__init__)[option]

    def maps(**options: Any) -> Tensor:
        return mw.SESS(brightness, classifier, **usual | options)(images, 1)

    values = [{option: value} for value in SESS_OTHERS.get(option, [])]
    values = values or other_values("SESS", option, hint, parameter.default)
    changed = [furthest(maps(**value), maps()) for value in values]
    assert (max(changed) <= 1e-5) if option == "batch" else (max(changed) > 1e-7), f"{option} at {values}"
