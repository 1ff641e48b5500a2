"""The packaged ``distilled`` masker: small, of the classifier as it is, and of the class that is asked for."""

from __future__ import annotations

import torch

import maskwise as mw
from maskwise.explainers.masker import packaged_masker
from maskwise.images import load_image, packaged_pictures, resize
from maskwise.maskers import load_masker
from maskwise.training import recipes


def test_it_is_small_and_shares_the_classifier() -> None:
    path = packaged_masker("distilled")
    assert path.stat().st_size < 200_000
    classifier = mw.load_classifier()
    masker = load_masker(path, classifier)
    assert masker.encoder.fingerprint() == classifier.fingerprint() and masker.needs_class
    recipe = recipes.load("distilled_lite0")
    assert masker.finish.sharpness == recipe.sharpness and masker.reads == recipe.taps


def test_each_class_has_its_own_half_of_a_picture_of_two() -> None:
    """A cat (281) on the left and a rocket (657, missile) on the right, and the other way round."""
    pictures = {path.stem: path for path in packaged_pictures()}
    cat, rocket = (resize(load_image(pictures[name])[None], (224, 112)) for name in ("cat", "rocket"))
    explain = mw.explainer("distilled", mw.load_classifier())
    for halves, left in (((cat, rocket), 0), ((rocket, cat), 1)):
        maps = explain(torch.cat(halves, -1), [[281, 657]])[0]
        share = maps[:, :, :112].sum((1, 2)) / maps.sum((1, 2))
        assert share[left] > 0.5 > share[1 - left] and share[left] - share[1 - left] > 0.4, share
