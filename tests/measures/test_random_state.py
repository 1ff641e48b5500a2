"""Who makes a method, a metric or an infiller finds all generators of random numbers as they were."""

from __future__ import annotations

import contextlib

import pytest
from conftest import tiny_net
from generators import shared_generators

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.base import methods
from maskwise.infill import infiller
from maskwise.infill.base import infillers
from maskwise.measures import metric
from maskwise.measures.base import metrics

MADE = [
    *(("method", name) for name in methods.names()),
    *(("metric", name) for name in metrics.names()),
    *(("infiller", name) for name in infillers.names()),
]


@pytest.mark.parametrize(("kind", "name"), MADE)
def test_making_one_draws_nothing(kind: str, name: str) -> None:
    """Not even one that is refused, for want of a transformer or of weights."""
    classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
    before = shared_generators()
    with contextlib.suppress(InputError):
        explainer(name, classifier) if kind == "method" else (
            metric(name, classifier) if kind == "metric" else infiller(name)
        )
    assert shared_generators() == before
