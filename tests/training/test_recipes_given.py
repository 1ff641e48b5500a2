"""What a caller says of a training's length decides, whatever the recipe says."""

from __future__ import annotations

import pytest

from maskwise.training import recipes


@pytest.mark.parametrize("name", ["casm_lite0", "class_casm_lite0", "distilled_lite0"])
def test_epochs_that_are_given_outweigh_the_recipe_s_steps(name: str) -> None:
    assert recipes.load(name).total_steps(7) > 1000
    assert recipes.load(name, ["epochs=3"]).total_steps(7) == 21
    assert recipes.load(name, ["epochs=3", "steps=5"]).total_steps(7) == 5
    assert recipes.load(name, ["steps=5"]).total_steps(7) == 5


def test_a_kind_that_needs_steps_keeps_them() -> None:
    assert recipes.load("dabkowski_gal_lite0", ["epochs=3"]).steps == 5000
