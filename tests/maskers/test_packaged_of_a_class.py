"""The packaged maskers ``distilled`` and ``class_casm``: small, as their recipes say, and of the class asked for."""

from __future__ import annotations

import json

import pytest
import torch

import maskwise as mw
from maskwise.explainers.masker import packaged_masker
from maskwise.images import load_image, packaged_pictures, resize
from maskwise.maskers import load_masker, read_header
from maskwise.training import recipes

BOTH = pytest.mark.parametrize("name", ["distilled", "class_casm"])


def test_distilled_is_small_and_shares_the_classifier() -> None:
    path = packaged_masker("distilled")
    assert path.stat().st_size < 200_000
    classifier = mw.load_classifier()
    assert load_masker(path, classifier).encoder.fingerprint() == classifier.fingerprint()


def test_class_casm_brings_its_own_encoder_in_twelve_megabytes() -> None:
    path = packaged_masker("class_casm")
    assert path.stat().st_size < 12_000_000
    classifier = mw.load_classifier()
    assert load_masker(path, classifier).encoder.fingerprint() != classifier.fingerprint()


@BOTH
def test_it_is_what_its_recipe_says(name: str) -> None:
    masker, recipe = load_masker(packaged_masker(name), mw.load_classifier()), recipes.load(f"{name}_lite0")
    assert masker.needs_class and masker.reads == recipe.taps
    assert (masker.finish.class_gate, masker.finish.sharpness) == (recipe.class_gate, recipe.sharpness)
    said, wanted = json.loads(read_header(packaged_masker(name))["recipe"]), recipe.model_dump(mode="json")
    # Settings that are younger than the file have their defaults in it.
    read = type(recipe).model_validate({key: value for key, value in said.items() if key != "kind"})
    meant = read.model_dump(mode="json")
    assert {key: meant[key] for key in said if key in meant and meant[key] != wanted[key]} == {}
    assert not set(said) - set(wanted)


@BOTH
def test_each_class_has_its_own_half_of_a_picture_of_two(name: str) -> None:
    """A cat (281) on the left and a rocket (657, missile) on the right, and the other way round."""
    pictures = {path.stem: path for path in packaged_pictures()}
    cat, rocket = (resize(load_image(pictures[name])[None], (224, 112)) for name in ("cat", "rocket"))
    explain = mw.explainer(name, mw.load_classifier())
    for halves, left in (((cat, rocket), 0), ((rocket, cat), 1)):
        maps = explain(torch.cat(halves, -1), [[281, 657]])[0]
        share = maps[:, :, :112].sum((1, 2)) / maps.sum((1, 2))
        assert share[left] > 0.5 > share[1 - left] and share[left] - share[1 - left] > 0.4, share
