"""The packaged transformer: small, seen by the attention recorder, and better than chance on real pictures."""

from __future__ import annotations

import pytest
import torch

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.classifiers.hybrid_vit import BLOCKS, Stem, hybrid_vit
from maskwise.core.seal import ASSETS
from maskwise.images import load_image, packaged_pictures, resize

NAME = "vit_tiny_distilled"


@pytest.fixture(scope="module")
def vit() -> Classifier:
    return mw.load_classifier(NAME)


def test_it_is_small_and_listed_offline(vit: Classifier) -> None:
    assert (ASSETS / "classifiers" / f"{NAME}.safetensors").stat().st_size < 12_000_000
    assert vit.name == NAME and vit.size == (224, 224) and len(vit.labels) == 1000


def test_its_patches_are_the_stem_of_lite0(vit: Classifier) -> None:
    """The stem's features are those of EfficientNet-Lite0's fifth stage, but for float16."""
    lite = mw.load_classifier("efficientnet_lite0")
    images = resize(load_image(packaged_pictures()[0])[None], 224)
    with torch.inference_mode(), lite.tapped(["blocks.4"], raw=True) as seen:
        lite.logits(images)
        found = vit.module.get_submodule("patch_embed.backbone")(vit.normalise(images))
    wanted = seen["blocks.4"]
    assert (found - wanted).norm() < 0.02 * wanted.norm()


def test_it_knows_the_packaged_cat(vit: Classifier) -> None:
    pictures = {path.stem: path for path in packaged_pictures()}
    with torch.inference_mode():
        best = vit.logits(resize(load_image(pictures["cat"])[None], 224)).topk(5).indices[0].tolist()
    assert {281, 282, 285} & set(best), "tabby, tiger cat or Egyptian cat is among its five likeliest"


@pytest.mark.parametrize(
    "method", ["attention_rollout", "generic_attention", "legrad", "grad_eclip", "grad_cam", "recipro_cam"]
)
def test_methods_see_its_attention(vit: Classifier, method: str) -> None:
    images = resize(load_image(packaged_pictures()[0])[None], 224)
    explain = mw.explainer(method, vit)
    maps = explain(images)
    assert maps.shape == (1, 224, 224) and maps.max() > 0.9 and maps.std() > 0.05


def test_sizes_of_another_picture() -> None:
    made = hybrid_vit(96, classes=7)
    assert made(torch.rand(2, 3, 96, 96)).shape == (2, 7) and len(made.blocks) == BLOCKS
    assert Stem()(torch.rand(1, 3, 64, 96)).shape == (1, 112, 4, 6)
