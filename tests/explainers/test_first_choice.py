"""What explains a classifier where nobody has named a method."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from calling import call
from conftest import tiny_net
from safetensors.torch import save_file
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.first_choice import first_choice, first_choices, method_of
from maskwise.explainers.masker import packaged_masker
from maskwise.maskers import Masker, ShapleyMasker, save_masker


def black_box() -> Classifier:
    def predict(images: Tensor) -> Tensor:
        return images.mean((2, 3)).softmax(1)

    return Classifier(predict, input_size=32)


def transformer() -> Classifier:
    torch.manual_seed(0)
    net = timm.create_model(
        "vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2, embed_dim=32, num_heads=2, num_classes=5
    )
    nn.init.normal_(net.head.weight)
    return Classifier(net.eval(), input_size=32)


def pixels_alone() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))


OWN = """
import torch
from torch import nn

def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
"""
NETWORKS = {
    "convolutions": (lambda: Classifier(tiny_net(), input_size=32), "grad_cam"),
    "transformer": (transformer, "generic_attention"),
    "no places": (
        lambda: Classifier(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)), input_size=32),
        "gradient",
    ),
    "black box": (black_box, "banzhaf"),
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_it_is_the_first_that_the_network_allows(kind: str) -> None:
    make, wanted = NETWORKS[kind]
    classifier, images = make(), torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert first_choice(classifier) == wanted
    made = mw.explainer("auto", classifier)
    assert made.identity["method"] == wanted
    torch.testing.assert_close(made(images), mw.explainer(wanted, classifier)(images))


def test_the_first_few_that_the_network_allows() -> None:
    few = {kind: first_choices(make(), 2) for kind, (make, _) in NETWORKS.items()}
    assert few == {
        "convolutions": ("grad_cam", "gradient"),
        "transformer": ("generic_attention", "grad_cam"),
        "no places": ("gradient",),
        "black box": ("banzhaf",),
    }
    assert first_choices(mw.load_classifier("efficientnet_lite0"), 2) == ("distilled", "grad_cam")


def test_the_web_page_begins_with_them() -> None:
    web = pytest.importorskip("maskwise.web.app")
    classifier = NETWORKS["transformer"][0]()
    page = web.page(["of one's own"], load=lambda name: classifier)
    try:
        chosen = next(block for block in page.blocks.blocks.values() if getattr(block, "max_choices", None))
        assert chosen.value == ["generic_attention", "grad_cam"]
    finally:
        page.line.close()


def test_of_the_packaged_classifier() -> None:
    assert first_choice(mw.load_classifier("efficientnet_lite0")) == "distilled"


@pytest.mark.parametrize("method", ["casm", "casm_baseline", "class_casm", "distilled", "dabkowski_gal"])
def test_of_a_masker_s_file_it_is_the_method_that_the_masker_was_trained_for(method: str) -> None:
    """Maps of a CASM's file were called distilled, and Dabkowski & Gal's was refused."""
    classifier, file = mw.load_classifier("efficientnet_lite0"), packaged_masker(method)
    made = mw.explainer("auto", classifier, masker=file)
    assert made.identity["method"] == method
    images = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made(images, 5), mw.explainer(method, classifier)(images, 5))


def test_a_masker_that_has_no_method_of_its_own_and_one_of_shapley_values(tmp_path: Path) -> None:
    classifier = NETWORKS["convolutions"][0]()
    for recipe, method in (({"kind": "regions"}, "distilled"), ({"kind": "ranking", "class_tap": True}, "distilled")):
        save_masker(tmp_path / "m.safetensors", Masker.build(classifier), classifier, recipe)
        assert method_of(tmp_path / "m.safetensors") == method
    save_masker(tmp_path / "s.safetensors", ShapleyMasker.build(classifier), classifier, {"kind": "shapley"})
    assert method_of(tmp_path / "s.safetensors") == "fast_shap"


def test_an_audit_reads_a_masker_s_file_likewise(monkeypatch: pytest.MonkeyPatch, picture_folder: Path) -> None:
    """Maps are not what is looked at: an audit of them takes a minute."""
    asked: list[str] = []

    def made(method: str, *_: object) -> None:
        asked.append(method)
        raise InputError("enough is known")

    monkeypatch.setattr("maskwise.commands.audit.make_explainer", made)
    found = call("audit", "--data", picture_folder, "--masker", packaged_masker("casm"))
    assert found.exit_code == 2 and asked == ["casm"]


def test_what_is_no_masker_s_file_is_refused(tmp_path: Path) -> None:
    classifier = NETWORKS["convolutions"][0]()
    for recipe in ("{", "[]", "[" * 100_000):
        header = {"format": "maskwise-masker-2", "recipe": recipe}
        save_file({"x": torch.zeros(1)}, tmp_path / "m.safetensors", header)
        with pytest.raises(InputError, match="no recipe that can be read"):
            mw.explainer("auto", classifier, masker=tmp_path / "m.safetensors")
    with pytest.raises(InputError, match="no-such-file"):
        mw.explainer("auto", NETWORKS["convolutions"][0](), masker="no-such-file.safetensors")


def test_a_picture_of_a_classifier_of_one_s_own_needs_no_method(picture_folder: Path, tmp_path: Path) -> None:
    """The command says which one it took, in words and in the result."""
    (tmp_path / "own.py").write_text(OWN)
    picture = sorted((picture_folder / "images").iterdir())[0]
    found = call("explain", picture, "--classifier", f"{tmp_path}/own.py:network", "--out", tmp_path / "e")
    assert found.exit_code == 0, found.output
    assert "grad_cam on" in found.stdout
    (result,) = (tmp_path / "e").glob("*/result.json")
    assert json.loads(result.read_text())["method"] == "grad_cam"
