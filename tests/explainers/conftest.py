"""The tiny network of tests over all methods: one that the method in hand can explain."""

from __future__ import annotations

import pytest
from conftest import tiny_vit

from maskwise.classifiers import Classifier
from maskwise.explainers import methods


@pytest.fixture
def tiny(request: pytest.FixtureRequest, tiny: Classifier) -> Classifier:
    """A transformer for methods that read attention, where the test is of one method; else the usual network."""
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    if name in methods and methods.facts(name)["family"] == "attention":
        return Classifier(tiny_vit(), input_size=32, name="tiny")
    return tiny
