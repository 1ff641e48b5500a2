"""Small networks of many families of timm, torchvision and transformers, with random weights that react to pictures."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import timm
import torch
import torchvision.models as tv
from torch import nn

CLASSES = 5
Build = Callable[[], nn.Module]


def _timm(name: str, **options: Any) -> Build:
    return lambda: timm.create_model(name, num_classes=CLASSES, **options)


def _hf(name: str, **options: Any) -> Build:
    def build() -> nn.Module:
        from maskwise.classifiers.hf import Logits

        transformers = pytest.importorskip("transformers", reason="transformers is not installed")
        config = getattr(transformers, f"{name}Config")(num_labels=CLASSES, **options)
        return Logits(getattr(transformers, f"{name}ForImageClassification")(config))

    return build


SMALL = {"img_size": 64, "depth": 4}
WIDE = {"embed_dim": 48, "num_heads": 3}
SWIN = {"img_size": 64, "embed_dim": 24, "depths": (1, 1, 2, 1)}
STAGES = {"depths": (1, 1, 1, 1)}
HF = {"hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 64}
HF_STAGES = {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]}
NETWORKS: dict[str, tuple[Build, int]] = {
    # torchvision
    "squeezenet": (lambda: tv.squeezenet1_1(num_classes=CLASSES), 64),
    "resnet": (lambda: tv.ResNet(tv.resnet.BasicBlock, [1, 1, 1, 1], CLASSES), 64),
    "densenet": (lambda: tv.DenseNet(8, (2, 2, 2, 2), 16, num_classes=CLASSES), 64),
    "mobilenet_v2": (lambda: tv.mobilenet_v2(num_classes=CLASSES, width_mult=0.35), 64),
    "mobilenet_v3": (lambda: tv.mobilenet_v3_small(num_classes=CLASSES, width_mult=0.5), 64),
    "shufflenet": (lambda: tv.shufflenet_v2_x0_5(num_classes=CLASSES), 64),
    "mnasnet": (lambda: tv.MNASNet(0.25, CLASSES), 64),
    "tv_vit": (lambda: tv.VisionTransformer(64, 16, 4, 2, 32, 64, num_classes=CLASSES), 64),
    "tv_swin": (
        lambda: tv.SwinTransformer([2, 2], 16, [1, 1, 1], [2, 2, 2], [4, 4], num_classes=CLASSES),
        64,
    ),
    "tv_maxvit": (lambda: tv.MaxVit((64, 64), 16, 2, [16, 32], [1, 1], 8, 0.0, num_classes=CLASSES), 64),
    # timm: convolutions
    "regnet": (_timm("regnetx_002"), 64),
    "efficientnet": (_timm("efficientnet_lite0"), 64),
    "convnext": (_timm("convnext_atto", **STAGES), 64),
    "convnextv2": (_timm("convnextv2_atto", **STAGES), 64),
    "repvgg": (_timm("repvgg_a0"), 64),
    "ghostnet": (_timm("ghostnet_050"), 64),
    "hardcorenas": (_timm("hardcorenas_a"), 64),
    "rexnet": (_timm("rexnet_100"), 64),
    "hgnet": (_timm("hgnetv2_b0"), 64),
    "mambaout": (_timm("mambaout_femto", **STAGES), 64),
    # timm: tokens and hybrids
    "vit": (_timm("vit_tiny_patch16_224", **SMALL), 64),
    "vit_average": (_timm("vit_tiny_patch16_224", **SMALL, global_pool="avg", class_token=False), 64),
    "vit_pooled": (_timm("vit_tiny_patch16_224", **SMALL, global_pool="map", class_token=False), 64),
    "vit_registers": (_timm("vit_base_patch14_reg4_dinov2", **WIDE, img_size=56, depth=4), 56),
    "deit_distilled": (_timm("deit_tiny_distilled_patch16_224", **SMALL), 64),
    "beit": (_timm("beit_base_patch16_224", **SMALL, **WIDE), 64),
    "eva02": (_timm("eva02_tiny_patch14_224", img_size=56, depth=4), 56),
    "cait": (_timm("cait_xxs24_224", **SMALL), 64),
    "xcit": (_timm("xcit_nano_12_p16_224", **SMALL), 64),
    "tnt": (_timm("tnt_s_legacy_patch16_224", **SMALL), 64),
    "swin": (_timm("swin_tiny_patch4_window7_224", **SWIN, window_size=2), 64),
    "swinv2": (_timm("swinv2_tiny_window8_256", **SWIN, window_size=4), 64),
    "mobilevit": (_timm("mobilevit_xxs"), 64),
    "mobilevitv2": (_timm("mobilevitv2_050"), 64),
    "efficientvit": (_timm("efficientvit_b0"), 64),
    "pvt_v2": (_timm("pvt_v2_b0", **STAGES), 64),
    "edgenext": (_timm("edgenext_xx_small", **STAGES), 64),
    "davit": (_timm("davit_tiny", embed_dims=(24, 48, 96, 192), num_heads=(1, 2, 4, 8), **STAGES), 64),
    "mixer": (_timm("mixer_s32_224", img_size=64), 64),
    # transformers
    "hf_vit": (_hf("ViT", **HF), 64),
    "hf_deit": (_hf("DeiT", **HF), 64),
    "hf_beit": (_hf("Beit", **HF), 64),
    "hf_dinov2": (_hf("Dinov2", **HF | {"image_size": 56}), 56),
    "hf_dinov2_registers": (_hf("Dinov2WithRegisters", **HF | {"image_size": 56}), 56),
    "hf_swin": (_hf("Swin", embed_dim=16, depths=[1, 1], num_heads=[2, 2], window_size=4, image_size=64), 64),
    "hf_convnext": (_hf("ConvNext", **HF_STAGES, image_size=64), 64),
    "hf_resnet": (_hf("ResNet", **HF_STAGES, embedding_size=8, layer_type="basic"), 64),
    "hf_segformer": (_hf("Segformer", **HF_STAGES), 64),
    "hf_mobilevit": (
        _hf("MobileViT", hidden_sizes=[16, 24, 32], neck_hidden_sizes=[8, 8, 16, 24, 32, 40, 48], image_size=64),
        64,
    ),
}


def network(name: str) -> tuple[nn.Module, int]:
    """A network and its input size.

    Libraries begin with weights near zero, or with branches that are switched off: every answer would be the same.
    """
    build, size = NETWORKS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = build().eval()
        for key, weight in module.named_parameters():
            if weight.ndim > 1:
                nn.init.kaiming_normal_(weight)
            elif "gamma" in key or "scale" in key or "lambda" in key:
                nn.init.constant_(weight, 0.5)
    return module, size
