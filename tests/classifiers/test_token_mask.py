"""Patches that a transformer does not see are patches that are not there."""

from __future__ import annotations

import pytest
import timm
import torch
from conftest import tiny_net, tiny_vit
from dropping import dropped, small_transformer
from timm.models.vision_transformer import VisionTransformer

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

IMAGES = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
THERE = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(1)) < 0.5


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("registers", [0, 4])
def test_masking_is_dropping(fused: bool, registers: int) -> None:
    net = small_transformer(reg_tokens=registers)
    for block in net.blocks:
        block.attn.fused_attn = fused
    own = Classifier(net, input_size=64)
    with torch.no_grad():
        masked = own.logits(IMAGES, token_mask=THERE)
        expected = dropped(net, own.normalise(IMAGES), THERE)
        whole = own.logits(IMAGES)
        assert (whole - expected).abs().max() > 0.1, "or it would not matter"
        torch.testing.assert_close(masked, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(own.logits(IMAGES, token_mask=torch.ones(3, 16)), whole, atol=1e-5, rtol=1e-5)
        none = own.logits(IMAGES, token_mask=torch.zeros(3, 16, dtype=torch.bool))
        assert none.isfinite().all() and torch.allclose(none[0], none[1], atol=1e-5), "nothing of any picture is seen"


def test_what_is_hidden_does_not_matter_and_gets_no_gradient() -> None:
    own = Classifier(small_transformer(), input_size=64)
    other = IMAGES.clone()
    hidden = ~THERE.repeat_interleave(16, 1).repeat_interleave(16, 2)[:, None].expand_as(other)
    other[hidden] = 1 - other[hidden]
    with torch.no_grad():
        torch.testing.assert_close(own.logits(other, token_mask=THERE), own.logits(IMAGES, token_mask=THERE))
    leaf = IMAGES.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(own.logits(leaf, token_mask=THERE)[:, 2].sum(), leaf)
    assert slope[hidden].abs().max() == 0 and slope[~hidden].abs().max() > 0


def test_other_weights_see_the_same_tokens() -> None:
    own, other = Classifier(small_transformer(), input_size=64), small_transformer()
    with torch.no_grad():
        other.head.weight.mul_(2)
        found = own.logits(IMAGES, other.state_dict(), THERE)
        torch.testing.assert_close(found, Classifier(other, input_size=64).logits(IMAGES, token_mask=THERE))


def test_the_packaged_transformer_takes_it() -> None:
    from maskwise import load_classifier

    own = load_classifier("vit_tiny_distilled")
    images = torch.rand(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    there = torch.rand(1, 14, 14, generator=torch.Generator().manual_seed(1)) < 0.5
    assert isinstance(own.module, VisionTransformer)
    with torch.no_grad():
        expected = dropped(own.module, own.normalise(images), there)
        torch.testing.assert_close(own.logits(images, token_mask=there), expected, atol=1e-4, rtol=1e-5)


@pytest.mark.parametrize(
    "net, size, said",
    [
        (tiny_net(), 64, "timm's VisionTransformer, and this is Sequential"),
        (tiny_vit(), 32, "timm's VisionTransformer, and this is Sequential"),
        (small_transformer(global_pool="avg"), 64, "pools its patches"),
        (timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, num_classes=5), 64, "Swin"),
    ],
)
def test_other_networks_are_refused_by_name(net: torch.nn.Module, size: int, said: str) -> None:
    own = Classifier(net, input_size=size, name="mine")
    with pytest.raises(InputError, match=said):
        own.logits(torch.rand(1, 3, size, size), token_mask=torch.ones(1, 16))


def test_the_number_of_patches_must_fit() -> None:
    with pytest.raises(InputError, match=r"\(N,16\), or \(N,h,w\) of as many, not \(3, 5, 5\)"):
        Classifier(small_transformer(), input_size=64).logits(IMAGES, token_mask=torch.ones(3, 5, 5))
