"""How many tokens come before the places, in networks of several libraries, at sizes where they could be places."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import measured_layers
from maskwise.classifiers.hf import from_hf
from maskwise.classifiers.prefix_tokens import prefix_tokens

SMALL = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32, "num_labels": 3}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vit_tiny_patch16_224", 1),
        ("vit_small_patch14_dinov2", 1),
        ("vit_small_patch14_reg4_dinov2", 5),
        ("deit_tiny_distilled_patch16_224", 2),
        ("eva02_tiny_patch14_224", 1),
        ("vit_base_patch16_siglip_224", 0),
    ],
)
def test_timm_s(name: str, expected: int) -> None:
    side = 14 if "patch14" in name else 16
    kwargs: dict[str, Any] = {"img_size": 2 * side, "depth": 2, "embed_dim": 24, "num_heads": 2, "num_classes": 3}
    net = timm.create_model(name, pretrained=False, **kwargs)
    assert prefix_tokens(net) == expected
    layers = measured_layers(Classifier(net, input_size=2 * side))
    assert {layer.grid for layer in layers} == {(2, 2)}


def test_torchvision_s() -> None:
    net = torchvision.models.VisionTransformer(32, 8, 2, 2, 24, 32, num_classes=3)
    assert prefix_tokens(net) == 1
    assert {layer.grid for layer in measured_layers(Classifier(net, input_size=32))} == {(4, 4)}


@pytest.mark.parametrize(
    ("family", "expected", "options"),
    [
        ("ViT", 1, {}),
        ("DeiT", 2, {}),
        ("Dinov2", 1, {}),
        ("Dinov2WithRegisters", 5, {"num_register_tokens": 4}),
        ("Dinov2WithRegisters", 12, {"num_register_tokens": 11}),  # with four places 16 tokens, and no 4x4 grid
        ("Siglip", None, {}),
    ],
)
def test_transformers_s(family: str, expected: int | None, options: dict[str, int]) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    if family == "Siglip":
        vision = {**SMALL, "image_size": 28, "patch_size": 14}
        config = transformers.SiglipConfig(vision_config=vision, num_labels=3)
    else:
        config = getattr(transformers, f"{family}Config")(**SMALL, **options, image_size=28, patch_size=14)
    torch.manual_seed(0)
    model = getattr(transformers, f"{family}ForImageClassification")(config)
    assert prefix_tokens(model) == expected
    assert {layer.grid for layer in measured_layers(from_hf(model))} == {(2, 2)}


def test_what_says_nothing() -> None:
    assert prefix_tokens(nn.Conv2d(3, 3, 1)) is None
