"""Balanced gradients keep the sum of x * g; and attention whose softmax hands relevance on by its gradient."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import tiny_net, tiny_vit
from explainers.small_networks import Spelled, bare, relevance
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer
from maskwise.explainers.integrated_gradients import IntegratedGradients
from maskwise.explainers.lrp import Lrp
from maskwise.explainers.relevance.balanced import logits_to_differentiate
from maskwise.explainers.relevance.sums import Epsilon
from maskwise.explainers.targets import Targets

SMALL = Epsilon(1e-8)
METHODS = (
    "gradient",
    "input_x_gradient",
    "smooth_grad",
    "integrated_gradients",
    "grad_cam",
    "grad_cam_pp",
    "layer_cam",
)
QUICK = {"smooth_grad": {"samples": 2}, "integrated_gradients": {"steps": 3}}


def without_biases(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.endswith(("bias", "position", "cls_token", "pos_embed")):
                weight.zero_()
    return module


def swiglu() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"embed_dim": 48, "num_heads": 2, "depth": 2, "img_size": 56, "num_classes": 3}
        return timm.create_model("eva02_tiny_patch14_224", **options).eval()


def gradient(classifier: Classifier, images: Tensor, target: int, balanced: bool) -> tuple[Tensor, Tensor]:
    """g (N,3,H,W) and the logit (N,)."""
    pixels = images.clone().requires_grad_()
    logits = logits_to_differentiate(classifier, pixels, balanced)[:, target]
    return torch.autograd.grad(logits.sum(), pixels)[0], logits.detach()


def test_the_sum_is_the_logit_where_nothing_has_a_bias() -> None:
    """Of a ViT, whose plain gradient has no such sum."""
    classifier, images = bare(without_biases(tiny_vit()), 32), torch.rand(3, 3, 32, 32) + 0.1
    for target in (0, 3):
        found, logit = gradient(classifier, images, target, balanced=True)
        assert torch.allclose((found * images).sum((1, 2, 3)), logit, atol=2e-3 * float(logit.abs().max()))
        assert torch.allclose(classifier.logits(images)[:, target], logit, atol=1e-5)
        plain, _ = gradient(classifier, images, target, balanced=False)
        assert ((plain * images).sum((1, 2, 3)) - logit).abs().max() > 0.05 * logit.abs().max()


def both(name: str, module: nn.Module, size: int) -> tuple[Tensor, Tensor]:
    """Maps of all classes, by plain and by balanced gradients; some are empty where nothing speaks for the class."""
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(5))
    targets = [list(range(4))] * 2
    plain, balanced = (
        explainer(name, bare(module.eval(), size), balanced=b, **QUICK.get(name, {}))(images, targets)
        for b in (False, True)
    )
    return plain, balanced


@pytest.mark.parametrize("name", METHODS)
def test_a_network_of_relus_has_these_gradients_anyway(name: str) -> None:
    for module in (tiny_net(), Spelled(F.relu)):
        plain, balanced = both(name, module, 16)
        assert torch.allclose(plain, balanced, atol=1e-5) and plain.std() > 0


def test_sums_near_zero_hand_on_all_that_gradients_do() -> None:
    """In networks of ReLUs, some of whose sums are next to nothing, and some nothing."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.AdaptiveAvgPool2d(1),
                            nn.Flatten(), nn.Linear(8, 4)).eval()  # fmt: skip
    with torch.no_grad():
        network[2].weight.mul_(1e-8)
        network[2].bias.mul_(torch.tensor([0.0, 1e-9] * 4))
    images = torch.rand(2, 3, 16, 16)
    images[1] = 0
    plain, balanced = (gradient(bare(network, 16), images, 1, b)[0] for b in (False, True))
    assert torch.allclose(plain, balanced, rtol=1e-4, atol=0) and plain.abs().max() > 0


@pytest.mark.parametrize("name", METHODS)
def test_a_transformer_has_other_maps(name: str) -> None:
    plain, balanced = both(name, tiny_vit(), 32)
    assert balanced.isfinite().all() and balanced.std() > 0 and not torch.allclose(plain, balanced, atol=0.05)


def test_input_x_gradient_is_relevance() -> None:
    """With next to no epsilon LRP is input times balanced gradient."""
    classifier, images = Classifier(tiny_vit(), input_size=32), torch.rand(2, 3, 32, 32)
    lrp = Lrp(classifier, epsilon=1e-8, relative=False)
    with lrp.calling():
        expected = lrp.relevances(images, Targets(torch.tensor([[1], [1]])))[:, 0].sum(1).abs()
    low, high = expected.amin((1, 2), keepdim=True), expected.amax((1, 2), keepdim=True)
    found = explainer("input_x_gradient", classifier, balanced=True)(images, 1)
    assert torch.allclose(found, (expected - low) / (high - low), atol=1e-4)


def test_noise_and_lines_are_means_of_balanced_gradients() -> None:
    module, images = tiny_vit(), torch.rand(2, 3, 32, 32)
    classifier = bare(module, 32)
    still = explainer("smooth_grad", classifier, balanced=True, samples=1, noise=0.0)(images, 1)
    assert torch.allclose(still, explainer("gradient", classifier, balanced=True)(images, 1), atol=1e-5)
    along = IntegratedGradients(classifier, steps=2, balanced=True)
    with along.calling():
        found = along.attributions(images, Targets(torch.tensor([[1], [1]])), torch.zeros_like(images))[:, 0]
    total = torch.zeros_like(images)
    for point in ((1 - 3**-0.5) / 2, (1 + 3**-0.5) / 2):
        contribution, _ = relevance(module, point * images, SMALL, 1)
        total += contribution / (point * images) / 2
    assert torch.allclose(found, total * images, atol=1e-4 * float(total.abs().max()))
    assert along.report["completeness_error"].shape == (2, 1)


def test_a_network_that_cannot_be_seen_is_named() -> None:
    traced = torch.jit.trace(tiny_net(), torch.rand(2, 3, 32, 32))
    with pytest.raises(InputError, match=r"`balanced` finds no way .*; leave `balanced` out"):
        explainer("gradient", Classifier(traced, input_size=32), balanced=True)(torch.rand(1, 3, 32, 32))


# LRP of attention: the softmax by its gradient


def by_formula(q: Tensor, k: Tensor, v: Tensor, relevance: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """R of q, k and v (T,d) from R of softmax(q k^T) v, rule by rule (Achtibat et al. 2024)."""
    z = q @ k.T
    a = z.softmax(-1)
    o = a @ v
    terms = a[:, :, None] * v[None]  # (query,key,channel)
    shares = 0.5 * terms * (relevance / o)[:, None]
    r_a, r_v = shares.sum(2), shares.sum(0)
    r_z = z * (r_a - a * r_a.sum(1, keepdim=True))
    terms = 0.5 * q[:, None] * k[None] * (r_z / z)[:, :, None]
    return terms.sum(1), terms.sum(0), r_v


@pytest.mark.parametrize("spelled", ["fused", "plain", "multi-head"])
def test_relevance_of_the_softmax_by_its_gradient(spelled: str) -> None:
    draws = torch.Generator().manual_seed(1)
    x = torch.rand(1, 5, 12, generator=draws, dtype=torch.float64)
    layer = nn.MultiheadAttention(4, 1, bias=False, batch_first=True).double().eval()
    with torch.no_grad():
        layer.in_proj_weight.copy_(torch.eye(4).repeat(3, 1)), layer.out_proj.weight.copy_(torch.eye(4))

    def net(x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -1)
        if spelled == "fused":
            return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=1.0).flatten(1)
        if spelled == "plain":
            return ((q @ k.transpose(1, 2)).softmax(-1) @ v).flatten(1)
        return layer(2 * q, k, v, need_weights=False)[0].flatten(1)  # whose scale is d^-1/2 = 1/2

    found, logit = relevance(net, x, Epsilon(1e-12, softmax_gradient=True), 6)
    wanted = torch.zeros(20, dtype=torch.float64)
    wanted[6] = logit
    expected = torch.cat(by_formula(*x[0].chunk(3, -1), wanted.reshape(5, 4)), -1)
    assert torch.allclose(found[0], expected, atol=1e-8) and expected[:, :8].abs().max() > 1e-3
    constant, _ = relevance(net, x, Epsilon(1e-12), 6)
    assert (constant[..., :8] == 0).all() and torch.allclose(constant.sum(), logit)


@pytest.mark.parametrize("kind", ["bool", "added", "causal", "scaled", "grouped"])
def test_fused_attention_taken_apart_gives_what_it_gives(kind: str) -> None:
    draws = torch.Generator().manual_seed(0)
    x = torch.rand(2, 4, 6, 24, generator=draws, dtype=torch.float64)
    options = {
        "bool": {"attn_mask": torch.ones(6, 6, dtype=torch.bool).tril(1)}, "causal": {"is_causal": True},
        "added": {"attn_mask": torch.rand(6, 6, generator=draws, dtype=torch.float64)}, "scaled": {"scale": 2.0},
        "grouped": {"enable_gqa": True},
    }[kind]  # fmt: skip

    def net(x: Tensor) -> Tensor:
        q, k, v = x.chunk(3, -1)
        k, v = (k[:, :2], v[:, :2]) if kind == "grouped" else (k, v)
        return F.scaled_dot_product_attention(q, k, v, **options).flatten(1)

    found, logit = relevance(net, x, Epsilon(1e-12, softmax_gradient=True), 6)
    assert torch.allclose(logit, net(x)[:, 6], atol=1e-10) and found.isfinite().all()


def test_lrp_with_the_softmaxs_gradient() -> None:
    classifier, images = Classifier(tiny_vit(), input_size=32), torch.rand(3, 3, 32, 32)
    explain = explainer("lrp", classifier, softmax="gradient")
    maps = explain(images, 1)
    assert maps.std() > 0 and not torch.allclose(maps, explainer("lrp", classifier)(images, 1), atol=0.05)
    assert torch.allclose(torch.cat([explain(images[i : i + 1], 1) for i in range(3)]), maps, atol=1e-4)
    cnn = Classifier(tiny_net(), input_size=32)
    assert torch.equal(explainer("lrp", cnn, softmax="gradient")(images, 1), explainer("lrp", cnn)(images, 1))
    with pytest.raises(InputError, match="softmax is constant or gradient"):
        explainer("lrp", classifier, softmax="none")
    with pytest.raises(InputError, match="softmax='gradient' is of rule='epsilon' only"):
        explainer("lrp", classifier, softmax="gradient", rule="z_plus")


def test_gated_products_halve() -> None:
    """Of a network with SwiGLU, rotary positions and an average the sum is the logit, too."""
    classifier, images = bare(without_biases(swiglu()), 56), torch.rand(1, 3, 56, 56) + 0.1
    found, logit = gradient(classifier, images, 1, balanced=True)
    assert found.isfinite().all() and torch.allclose((found * images).sum(), logit.sum(), rtol=0.05)


@pytest.mark.parametrize("norm", ["layer", "rms", "group"])
def test_a_gated_product_behind_each_norm_keeps_the_sum(norm: str) -> None:
    """In float64, without biases, sum x * g is the logit to the last digits; of whole factors it would be twice."""
    draws = torch.Generator().manual_seed(2)
    up, gate, down = (torch.randn(*s, generator=draws, dtype=torch.float64) for s in ((9, 6), (9, 6), (4, 9)))
    weight = torch.rand(6, generator=draws, dtype=torch.float64) + 0.5

    def net(x: Tensor) -> Tensor:
        if norm == "layer":
            seen = F.layer_norm(x, (6,), weight)
        elif norm == "rms":
            seen = F.rms_norm(x, (6,), weight)
        else:
            seen = F.group_norm(x, 2, weight)
        return F.linear(F.silu(F.linear(seen, gate)) * F.linear(seen, up), down)

    x = torch.randn(3, 6, generator=draws, dtype=torch.float64)
    found, logit = relevance(net, x, Epsilon(0), 1)
    assert torch.allclose(logit, net(x)[:, 1], atol=1e-10)
    assert torch.allclose(found.sum(1), logit, rtol=1e-6) and logit.abs().min() > 0.1
