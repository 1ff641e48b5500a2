"""CASM's mask behind excitation backpropagation: from its two parts, and what the gate leaves."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import tiny_net
from scipy import ndimage

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.maskers import Masker, save_masker
from maskwise.training import recipes


@pytest.fixture
def parts(tmp_path: Path) -> tuple[Classifier, Path]:
    classifier = Classifier(tiny_net(), input_size=32, name="tiny")
    torch.manual_seed(0)
    path = tmp_path / "masker.safetensors"
    save_masker(path, Masker.build(classifier).eval(), classifier, recipes.load("casm").model_dump(mode="json"))
    return classifier, path


def test_from_its_two_parts(parts: tuple[Classifier, Path]) -> None:
    """scipy smooths what excitation backpropagation gives; the gate opens from 0.45 of its peak on."""
    classifier, path = parts
    images, targets = torch.rand(3, 3, 32, 32), [0, 4, 2]
    masks = mw.explainer("casm", classifier, masker=path)(images)
    visits = mw.explainer("excitation_backprop", classifier)(images, targets)
    found = mw.explainer("excited_casm", classifier, masker=path, smooth=2 / 32)(images, targets)
    for mask, visit, map_ in zip(masks, visits, found, strict=True):
        gate = ndimage.gaussian_filter(visit.numpy(), 2, mode="nearest", truncate=8)
        gate = (gate - gate.min()) / (gate.max() - gate.min()) / 0.45
        torch.testing.assert_close(map_, mask * torch.from_numpy(gate).clamp(max=1), atol=2e-3, rtol=0)
    assert bool((found <= masks + 1e-6).all()) and float((masks - found).max()) > 0.05


def test_several_classes_of_one_picture(parts: tuple[Classifier, Path]) -> None:
    classifier, path = parts
    explain = mw.explainer("excited_casm", classifier, masker=path)
    images = torch.rand(2, 3, 32, 32)
    both = explain(images, [[0, 3], [1, 4]])
    assert both.shape == (2, 2, 32, 32)
    for k, targets in enumerate(([0, 1], [3, 4])):
        torch.testing.assert_close(both[:, k], explain(images, targets))
    assert not torch.allclose(both[:, 0], both[:, 1], atol=1e-3)
    top = classifier.logits(images).argmax(1)
    torch.testing.assert_close(explain(images), explain(images, top))


@pytest.mark.parametrize("options", [{"full": 0}, {"full": 1.5}, {"smooth": -1}, {"smooth": float("nan")}])
def test_options_out_of_range(parts: tuple[Classifier, Path], options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        mw.explainer("excited_casm", parts[0], masker=parts[1], **options)
