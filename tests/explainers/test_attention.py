"""What is seen of attention: weights as the network has them, gradients by them, what is refused and in which words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import Block, First, Patches, tiny_vit
from explainers.families import HF, NETWORKS, network
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods
from maskwise.explainers.attention.reading import AttentionReading, read_attention
from maskwise.explainers.attention.recorder import AttentionRecorder
from maskwise.explainers.layer_choice import layer_choices

ATTENTION = [name for name, facts in methods.items() if facts["family"] == "attention"]
NONE = "none that can be seen"
REFUSED = {
    "tv_swin": "within windows", "swin": "within windows", "swinv2": "within windows", "hf_swin": "within windows",
    "davit": "within windows", "tnt": "within windows or patches", "mobilevit": "within windows or patches",
    "hf_mobilevit": "within windows or patches", "xcit": "between channels", "edgenext": "between channels",
    "pvt_v2": "to fewer keys", "hf_segformer": "to fewer keys", "hiera": "within windows",
}  # fmt: skip
READ = {
    # network: prefix tokens, the tokens that the answer reads, whether attention pools
    "tv_vit": (1, "class", False), "vit": (1, "class", False), "vit_average": (0, "places", False),
    "vit_pooled": (0, "places", True), "vit_registers": (5, "class", False), "deit_distilled": (2, "two", False),
    "beit": (1, "places", False), "eva02": (1, "places", False), "cait": (0, "places", True),
    "hf_vit": (1, "class", False), "hf_deit": (2, "class", False), "hf_beit": (1, "places", False),
    "hf_dinov2": (1, "both", False), "hf_dinov2_registers": (5, "both", False),
}  # fmt: skip


def reading(module: nn.Module, size: int | tuple[int, int], name: str = "net") -> AttentionReading:
    return read_attention(Classifier(module, input_size=size, name=name), "legrad")


def forward(module: nn.Module, steps: tuple[str, ...], images: Tensor) -> AttentionRecorder:
    with AttentionRecorder(steps, rows=len(images)).watching(module) as recorder:
        module(images)
    return recorder


class Softmaxes(TorchFunctionMode):
    """While open, files what softmax gives."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "") == "softmax":
            self.given.append(result)
        return result


@contextmanager
def weights_filed(module: nn.Module) -> Iterator[list[Tensor]]:
    """timm's blocks compute weights themselves now, and these are filed, as they are multiplied with the values."""
    talking: list[Tensor] = []
    handles = []
    for part in module.modules():
        if hasattr(part, "fused_attn"):
            part.fused_attn = False
        if hasattr(part, "proj_w"):  # talking heads mix the weights behind the softmax
            handles.append(part.attn_drop.register_forward_pre_hook(lambda _, args: talking.append(args[0])))
    try:
        with Softmaxes() as softmaxes:
            yield softmaxes.given
    finally:
        softmaxes.given[: len(talking)] = talking
        for handle in handles:
            handle.remove()


# What is accepted, and what is refused


@pytest.mark.parametrize("name", NETWORKS)
def test_every_family_is_read_or_refused_by_name(name: str) -> None:
    module, size = network(name)
    if name not in READ:
        with pytest.raises(InputError, match=f"legrad reads .* {name} has .*{REFUSED.get(name, NONE)}.*take grad_cam"):
            reading(module, size, name)
        return
    prefix, which, pooled = READ[name]
    found = reading(module, size, name)
    side = found.size[0]
    assert found.size == (side, side) and found.tokens == prefix + side**2 and len(found.blocks) == 4
    assert (found.prefix, found.pooled) == (prefix, pooled)
    expected = torch.zeros(found.tokens)
    if which == "class":
        expected[0] = 1
    elif which == "two":
        expected[:2] = 0.5
    else:
        expected[prefix:] = 1 / side**2
        if which == "both":
            expected[prefix:] /= 2
            expected[0] = 0.5
    assert torch.allclose(found.read, expected)
    assert found.stochastic == (name != "cait")


def test_windows_in_a_dimension_of_their_own_are_refused() -> None:
    hiera = timm.create_model("hiera_tiny_224", num_classes=5, stages=(1, 1, 1, 1), embed_dim=32, num_heads=1)
    with pytest.raises(InputError, match=REFUSED["hiera"]):
        reading(hiera.eval(), 224)


class Mixed(nn.Module):
    """Attention of one head whose values meet a mixture: with weights that know places alone, or less another's.

    Args:
        kind: ``gated``, as ConViT's first blocks, whose weights were not seen; ``differential``, which were taken for
            two layers; ``plain``.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.qkv, self.kind = nn.Linear(16, 48), kind

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        if self.kind == "differential":
            both = (F.scaled_dot_product_attention(a, b, v) for a, b in ((q, k), (k, q)))
            return x + next(both)[:, 0] - 0.5 * next(both)[:, 0]
        weights = (q @ k.transpose(-2, -1)).softmax(-1)
        if self.kind == "gated":
            weights = 0.5 * weights + 0.5 * torch.zeros_like(weights).softmax(-1)
        return x + (weights @ v)[:, 0]


@pytest.mark.parametrize("kind", ["plain", "gated", "differential"])
@pytest.mark.parametrize("name", ATTENTION)
def test_weights_that_are_a_mixture_are_refused(name: str, kind: str) -> None:
    """A map was made of the other blocks alone, or of a block as if it were two, without a word."""
    plain = Block(16, 2)
    classifier = Classifier(nn.Sequential(Patches(), Mixed(kind), plain, First(), nn.Linear(16, 3)), input_size=32)
    if kind == "plain":
        assert explainer(name, classifier).reading.blocks == ("1", "2")  # type: ignore[attr-defined]
        return
    with pytest.raises(InputError, match=r"mixed \(layer '1'\): take grad_cam"):
        explainer(name, classifier)


@pytest.mark.parametrize("name", ["convit_tiny", "vit_dlittle_patch16_reg1_gap_256"])
def test_networks_of_mixtures_are_refused(name: str) -> None:
    net = timm.create_model(name, num_classes=5, img_size=64, depth=12 if name == "convit_tiny" else 2).eval()
    with pytest.raises(InputError, match=r"mixed \(layer 'blocks.0'\)"):
        reading(net, 64)


@pytest.mark.parametrize("name", ATTENTION)
def test_a_convolutional_network_is_refused_in_one_line(name: str, tiny: Classifier) -> None:
    with pytest.raises(InputError) as caught:
        explainer(name, Classifier(network("resnet")[0], input_size=64, name="a resnet"))
    said = str(caught.value)
    assert said.startswith(f"{name} reads the attention of a transformer, and a resnet has none that can be seen: take")
    assert "\n" not in said and "grad_cam" in said


def test_a_scripted_network_is_refused() -> None:
    with pytest.raises(InputError, match="take the network it was made from"):
        reading(torch.jit.trace(tiny_vit(), torch.rand(2, 3, 32, 32)), 32)


def test_dropout_that_stays_on_is_found() -> None:
    class Restless(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = nn.Linear(16, 48)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x)[:, None].chunk(3, -1)
            return F.scaled_dot_product_attention(q, k, v, dropout_p=0.5)[:, 0]

    net = nn.Sequential(Patches(), Restless(), Restless(), First(), nn.Linear(16, 3))
    with pytest.raises(InputError, match=r"layer '1' of net is not what its queries, keys and values say"):
        reading(net, 32)


# Weights are those of the library


@pytest.mark.parametrize("name", ["vit", "vit_registers", "deit_distilled", "beit", "eva02", "vit_pooled", "cait"])
def test_weights_are_those_that_timm_computes_without_fused_kernels(name: str) -> None:
    module, size = network(name)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    blocks = reading(module, size).blocks
    with torch.no_grad():
        fused = forward(module, blocks, images)
        with weights_filed(module) as seen:
            plain = forward(module, blocks, images)
    assert len(seen) == len(fused.calls) == len(plain.calls)
    for weights, one, other in zip(seen, fused.calls, plain.calls, strict=True):
        assert one.layer == other.layer and torch.equal(other.weights(), weights)
        assert torch.allclose(one.weights(), weights, atol=1e-6)
        assert torch.allclose(one.output, other.output, atol=1e-5)
        assert torch.allclose(one.heads(one.value), other.heads(other.value), atol=1e-5)


@pytest.mark.parametrize("kind", ["ViT", "DeiT", "Dinov2", "Beit"])
def test_weights_are_those_that_transformers_returns(kind: str) -> None:
    transformers = pytest.importorskip("transformers")
    from maskwise.classifiers.hf import Logits

    config = getattr(transformers, f"{kind}Config")(num_labels=3, **HF | {"image_size": 56, "patch_size": 14})
    module = Logits(getattr(transformers, f"{kind}ForImageClassification")(config).eval())
    images = torch.rand(2, 3, 56, 56)
    blocks = reading(module, 56).blocks
    with torch.no_grad():
        fused = forward(module, blocks, images)
        module.model.set_attn_implementation("eager")
        expected = module.model(images, output_attentions=True).attentions
        eager = forward(module, blocks, images)
    assert [call.given is None for call in (*fused.calls, *eager.calls)] == [True] * 4 + [False] * 4
    for weights, one, other in zip(expected, fused.calls, eager.calls, strict=True):
        assert torch.allclose(one.weights(), weights, atol=1e-6)
        assert torch.equal(other.weights(), weights)
        assert one.query is not None and other.query is not None and one.key is not None and other.key is not None
        assert torch.allclose(one.query, other.query, atol=1e-5) and torch.allclose(one.key, other.key, atol=1e-5)


def multi_head(separate: bool = False) -> nn.MultiheadAttention:
    """Two heads of width 2; queries and keys are zero in the first, ten times the input in the second."""
    layer = nn.MultiheadAttention(4, 2, batch_first=True, kdim=4 if separate else None, vdim=4 if separate else None)
    with torch.no_grad():
        eye = torch.eye(4)
        layer.in_proj_weight.copy_(torch.cat([torch.diag(torch.tensor([0.0, 0, 10, 10]))] * 2 + [eye]))
        layer.in_proj_bias.zero_(), layer.out_proj.weight.copy_(eye), layer.out_proj.bias.zero_()
    return layer.eval()


@pytest.mark.parametrize("weighted", [False, True])
def test_multi_head_attention_with_weights_set_by_hand(weighted: bool) -> None:
    """The first head sees all alike; the second, of one-hot tokens, itself alone."""
    layer, x = multi_head(), torch.tensor([[[1.0, 2, 1, 0], [3, 4, 0, 1]]]).expand(3, -1, -1)
    with torch.no_grad(), AttentionRecorder((), rows=3).watching(layer) as recorder:
        output, weights = layer(x, x, x, need_weights=weighted)
    (call,) = recorder.calls
    itself = torch.tensor([[1.0, 0], [0, 1]])
    expected = torch.stack([torch.full((2, 2), 0.5), itself])
    assert torch.allclose(call.weights()[2], expected, atol=1e-6)
    assert torch.allclose(output[0], torch.tensor([[2.0, 3, 1, 0], [2, 3, 0, 1]]), atol=1e-6)
    plain = layer(x, x, x, need_weights=weighted)
    assert torch.allclose(output, plain[0], atol=1e-6)
    assert weights is None if not weighted else torch.allclose(weights, plain[1], atol=1e-6)


@pytest.mark.parametrize("mask", ["bool", "float", "by head", "padding", "both"])
def test_masks_of_multi_head_attention_hide_what_the_library_hides(mask: str) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, x = nn.MultiheadAttention(8, 2, batch_first=True).eval(), torch.rand(3, 5, 8)
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    padding = torch.tensor([[False] * 4 + [True], [False] * 5, [False] * 3 + [True] * 2])
    options: dict[str, Tensor] = {
        "bool": {"attn_mask": hidden}, "float": {"attn_mask": hidden * -2.0}, "padding": {"key_padding_mask": padding},
        "by head": {"attn_mask": hidden.expand(6, -1, -1)}, "both": {"attn_mask": hidden, "key_padding_mask": padding},
    }[mask]  # fmt: skip
    with torch.no_grad():
        output, weights = layer(x, x, x, need_weights=True, average_attn_weights=False, **options)
        with AttentionRecorder((), rows=3).watching(layer) as recorder:
            seen, _ = layer(x, x, x, need_weights=False, **options)
    (call,) = recorder.calls
    assert torch.allclose(call.weights(), weights, atol=1e-6) and torch.allclose(seen, output, atol=1e-6)
    call.check("net")


@pytest.mark.parametrize("kind", ["plain", "bool", "added", "causal", "scaled", "grouped", "without heads"])
def test_fused_attention_in_every_form(kind: str) -> None:
    draws = torch.Generator().manual_seed(0)
    q, k, v = (torch.rand(2, 4, 6, 8, generator=draws) for _ in range(3))
    keep = torch.ones(6, 6, dtype=torch.bool).tril(1)
    options = {
        "bool": {"attn_mask": keep}, "added": {"attn_mask": torch.rand(6, 6)}, "causal": {"is_causal": True},
        "scaled": {"scale": 2.0}, "grouped": {"enable_gqa": True},
    }.get(kind, {})  # fmt: skip
    if kind == "grouped":
        k, v = k[:, :2], v[:, :2]
    if kind == "without heads":
        q, k, v = (x.flatten(0, 1) for x in (q, k, v))
    with AttentionRecorder((), rows=2) as recorder:
        output = F.scaled_dot_product_attention(q, k, v, **options)
    (call,) = recorder.calls
    assert call.weights().shape == (2, 4, 6, 6) and torch.allclose(call.weights().sum(-1), torch.ones(2, 4, 6))
    assert torch.equal(output, F.scaled_dot_product_attention(q, k, v, **options))
    call.check("net")
    hidden = {"bool": ~keep, "causal": torch.ones(6, 6, dtype=torch.bool).triu(1)}.get(kind)
    assert hidden is None or (call.weights()[..., hidden] == 0).all()
    call.value = call.value + 1e-3
    with pytest.raises(InputError, match="not what its queries"):
        call.check("net")


def test_half_precision_is_checked_less_strictly() -> None:
    module = tiny_vit()
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        recorder = forward(module, ("1", "2", "3"), torch.rand(2, 3, 32, 32))
    for call in recorder.calls:
        assert call.output.dtype == torch.bfloat16 and call.weights().dtype == torch.float32
        call.check("net")


# Gradients


@pytest.mark.parametrize("name", ["vit", "beit", "vit_pooled", "cait"])
def test_gradients_by_weights_are_those_of_autograd(name: str) -> None:
    """dS/dA = (dS/dO) V^T of the fused network, against autograd through the weights of the unfused one."""
    module, size = network(name)
    images = torch.rand(2, 3, size, size, generator=torch.Generator().manual_seed(2))
    blocks = reading(module, size).blocks
    for weight in module.parameters():
        weight.requires_grad_(False)
    with AttentionRecorder(blocks, rows=2).watching(module) as recorder:
        score = module(images)[:, 1].sum()
    ours = [
        call.slope(call.heads(slope))
        for call, slope in zip(
            recorder.calls, torch.autograd.grad(score, [call.output for call in recorder.calls]), strict=True
        )
    ]
    with weights_filed(module) as seen:
        score = module(images.requires_grad_(True))[:, 1].sum()
    theirs = torch.autograd.grad(score, seen)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.allclose(one, other, atol=1e-5 * float(other.abs().max())) and other.abs().max() > 0


def test_only_the_steps_asked_for_are_filed() -> None:
    module, steps = tiny_vit(), ("1", "2", "3")
    for only in (("2",), ("1", "3"), (None,)):
        recorder = AttentionRecorder(steps, only, 2)
        with torch.no_grad(), recorder.watching(module):
            module(torch.rand(2, 3, 32, 32))
        assert [call.layer for call in recorder.calls] == [name for name in only if name]


def test_nothing_stays_behind_after_an_error() -> None:
    module = tiny_vit()
    expected = module(torch.ones(1, 3, 32, 32))

    def fail(*_: object) -> None:
        raise RuntimeError("broken layer")

    handle = module[3].register_forward_hook(fail)
    with pytest.raises(RuntimeError, match="broken"), AttentionRecorder(("1", "2")).watching(module):
        module(torch.ones(1, 3, 32, 32))
    handle.remove()
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in module.modules())
    recorder = AttentionRecorder(("1",))
    assert torch.equal(module(torch.ones(1, 3, 32, 32)), expected) and not recorder.calls


# Grids


def tall() -> nn.Module:
    return timm.create_model("vit_tiny_patch16_224", img_size=(96, 48), depth=2, num_classes=5).eval()


@pytest.mark.parametrize("name", ATTENTION)
def test_a_grid_that_is_not_square(name: str) -> None:
    """Places are told row by row: what differs in the lower half alone changes the map there most."""
    classifier = Classifier(tall(), input_size=(96, 48), name="tall")
    explain = explainer(name, classifier)
    assert explain.reading.size == (6, 3)  # type: ignore[attr-defined]
    values = torch.arange(19.0)[None]
    grid = explain.reading.grid(values)  # type: ignore[attr-defined]
    assert torch.equal(grid[0], torch.arange(1.0, 19).reshape(6, 3))
    assert explain(torch.rand(1, 3, 60, 30)).shape == (1, 60, 30)


@pytest.mark.parametrize("build", [lambda: network("vit"), lambda: network("hf_vit"), lambda: network("tv_vit")])
def test_the_blocks_are_listed_with_the_layers(build: Callable[[], tuple[nn.Module, int]]) -> None:
    module, size = build()
    _, choices, refusals = layer_choices(Classifier(module, input_size=size))
    for name in ATTENTION:
        assert len(choices[name].layers) == 4 and name not in refusals


def test_what_is_refused_is_listed_as_refused() -> None:
    _, _, refusals = layer_choices(Classifier(network("resnet")[0], input_size=64))
    assert set(ATTENTION) <= set(refusals)
    _, choices, refusals = layer_choices(Classifier(network("cait")[0], input_size=64))
    assert "attention_rollout" in refusals and "legrad" in choices
