"""Every check, and the audit, draws from generators of its own: those that all share stand where they stood."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from audit.scenes import reader, scenes
from checks.toys import oracle, toy_net, toy_set
from generators import shared_generators

from maskwise.audit import audit
from maskwise.checks import (
    SmallTraining,
    arcc,
    checks,
    drt,
    f_fidelity,
    focus,
    leak,
    max_sensitivity,
    mprt,
    roar,
    robust_judge,
    train_classifier,
    trained_masker,
)
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer

TRAIN, TEST = toy_set(12, 0), toy_set(12, 1)
QUICK = SmallTraining(epochs=1, batch_size=6, lr=0.01)
ORACLE = {"oracle": oracle}

RUN: dict[str, Callable[[Classifier], Any]] = {
    "mprt": lambda it: mprt(explainer("gradient", it), it, TEST.floats(), modes=["independent"]),
    "drt": lambda it: drt(
        {"random": lambda made, *_: explainer("random", made)}, TRAIN, TEST, network=toy_net, settings=QUICK
    ),
    "roar": lambda it: roar(ORACLE, it, TRAIN, TEST, network=toy_net, settings=QUICK, fractions=[20], repeats=1),
    "max_sensitivity": lambda it: max_sensitivity(ORACLE, it, TEST.floats(), samples=2),
    "arcc": lambda it: arcc(ORACLE, it, TEST.floats()),
    "focus": lambda it: focus(ORACLE, it, TEST.floats()),
    "f_fidelity": lambda it: f_fidelity(ORACLE, it, TEST.images, TRAIN.images, settings=QUICK, draws=2, percent=(20,)),
    "leak": lambda it: leak(ORACLE, it, robust_judge(it, TRAIN, QUICK).classifier, TEST, probe=QUICK),
}


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return train_classifier(toy_net, TRAIN, QUICK).classifier


@pytest.mark.parametrize("name", checks.names())
@pytest.mark.parametrize("seed", [3, 4])
def test_a_check_draws_from_its_own(name: str, seed: int, classifier: Classifier) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed)
    random.seed(seed)
    before = shared_generators()
    RUN[name](classifier)
    assert shared_generators() == before


def test_so_do_a_masker_that_is_trained_for_one_and_the_audit(classifier: Classifier, tmp_path: Path) -> None:
    data, network = scenes(tmp_path / "scenes", count=24), reader("object")
    before = shared_generators()
    make = trained_masker("casm", overrides=["epochs=1", "batch_size=6", "input_size=32"])
    make(classifier, TRAIN, tmp_path / "masker")
    assert shared_generators() == before, "the masker"
    audit(network, data, "gradient", out=tmp_path / "audit")
    assert shared_generators() == before, "the audit"
