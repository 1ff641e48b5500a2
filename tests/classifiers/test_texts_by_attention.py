"""Methods that read attention, on CLIP and its kin at toy size: against the weights that transformers itself gives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import maskwise as mw
from maskwise.classifiers.hf_texts import PictureFeatures
from maskwise.explainers.attention.base import AttentionExplainer
from maskwise.explainers.targets import Targets

TEXTS, TARGET = ["a cat", "a dog", "a bird"], 1
IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
SEEING = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 3, "num_attention_heads": 2}
SEEING |= {"image_size": 64, "patch_size": 16}
DIRECTIONS = torch.randn(3, 32, generator=torch.Generator().manual_seed(3))
METHODS = ("attention_rollout", "generic_attention", "legrad", "grad_eclip")


def of_transformers(kind: str) -> Any:
    """With weights so large that its attention is uneven."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    torch.manual_seed(0)
    width = {"projection_dim": 32} if kind == "CLIP" else {}
    model = getattr(transformers, f"{kind}Model")(
        getattr(transformers, f"{kind}Config")(text_config={"num_hidden_layers": 1}, vision_config=SEEING, **width)
    ).eval()
    for weight in model.vision_model.parameters():
        if weight.ndim == 2:
            torch.nn.init.kaiming_normal_(weight)
    return model


def classifier_of(encoder: torch.nn.Module, size: int = 64) -> mw.TextClassifier:
    return mw.TextClassifier(encoder, TEXTS, DIRECTIONS, scale=20, input_size=size, mean=(0,) * 3, std=(1,) * 3)


def raw(name: str, classifier: mw.TextClassifier, images: Tensor = IMAGES, **options: Any) -> Tensor:
    explain = mw.explainer(name, classifier, **options)
    assert isinstance(explain, AttentionExplainer)
    with explain.calling():
        targets = Targets(torch.full((len(images), 1), TARGET))
        return explain.saliency_and_logits(images, targets)[0][:, 0].detach().flatten(1)


def score(embedding: Tensor) -> Tensor:
    return 20 * F.cosine_similarity(embedding, DIRECTIONS[TARGET][None]).sum()


def close(ours: Tensor, theirs: Tensor) -> bool:
    return bool(theirs.std() > 0) and bool((ours - theirs).abs().max() <= 1e-4 * theirs.abs().max())


def seen_by(model: Any) -> tuple[Any, list[Tensor]]:
    """The model's own record of a forward by plain kernels, and its weights, which gradients go through."""
    model.set_attn_implementation("eager")
    found = model.vision_model(pixel_values=IMAGES, output_attentions=True, output_hidden_states=True)
    return found, list(found.attentions)


def joined(matrices: list[Tensor], row: Tensor, halved: bool) -> Tensor:
    product = torch.eye(matrices[0].shape[-1]).expand(2, -1, -1)
    for matrix in matrices:
        product = product + matrix @ product
        product = product / 2 if halved else product
    return (row @ product)[:, 0].detach()


def test_clip() -> None:
    """A class token behind three blocks, whose norm and projection are the head."""
    model = of_transformers("CLIP")
    classifier = classifier_of(PictureFeatures(model.vision_model, model.visual_projection))
    ours = {name: raw(name, classifier) for name in METHODS}
    means = raw("legrad", classifier, score="token_mean")
    found, weights = seen_by(model)
    first = F.one_hot(torch.tensor([0]), 17).float().expand(2, 1, -1)
    rollout = joined([a.mean(1) for a in weights], first, halved=True)
    assert close(ours["attention_rollout"], rollout[:, 1:])
    slopes = torch.autograd.grad(score(model.visual_projection(found.pooler_output)), weights, retain_graph=True)
    shares = [(a * g).relu().mean(1) for a, g in zip(weights, slopes, strict=True)]
    assert close(ours["generic_attention"], joined(shares, first, halved=False)[:, 1:])

    def head(tokens: Tensor) -> Tensor:
        return score(model.visual_projection(model.vision_model.post_layernorm(tokens[:, 0])))

    for mine, reduce in ((ours["legrad"], lambda x: x), (means, lambda x: x.mean(1, keepdim=True))):
        assert close(mine, layers_summed(found.hidden_states, weights, lambda x, f=reduce: head(f(x)))[:, 1:])  # type: ignore[misc]
    again = {name: raw(name, classifier) for name in METHODS}  # by plain kernels
    assert all(close(again[name], ours[name]) for name in METHODS)


def layers_summed(states: Any, weights: list[Tensor], head: Callable[[Tensor], Tensor]) -> Tensor:
    """sum_l mean over heads and queries of ReLU(d head(tokens_l) / dA_l)."""
    total = torch.zeros(2, weights[0].shape[-1])
    for tokens, a in zip(states[1:], weights, strict=True):
        (slope,) = torch.autograd.grad(head(tokens), a, retain_graph=True)
        total += slope.relu().mean((1, 2))
    return total


def test_siglip() -> None:
    """No class token: a learnt query pools the places, and LeGrad is of its weights over each block's tokens."""
    model = of_transformers("Siglip")
    classifier = classifier_of(PictureFeatures(model.vision_model))
    ours = {name: raw(name, classifier) for name in METHODS}
    found, weights = seen_by(model)
    pooler = model.vision_model.head

    def pooled(tokens: Tensor) -> tuple[Tensor, Tensor]:
        """The embedding, and the weights (N,h,1,T) that it came by."""
        q, k, v = (
            F.linear(x, w, b).unflatten(2, (2, -1)).transpose(1, 2)
            for x, w, b in zip(
                (pooler.probe.expand(2, -1, -1), tokens, tokens),
                pooler.attention.in_proj_weight.chunk(3),
                pooler.attention.in_proj_bias.chunk(3),
                strict=True,
            )
        )
        a = (q @ k.mT / k.shape[-1] ** 0.5).softmax(-1)
        read = pooler.attention.out_proj((a @ v).transpose(1, 2).flatten(2))
        return (read + pooler.mlp(pooler.layernorm(read)))[:, 0], a

    norm = model.vision_model.post_layernorm
    embedding, last = pooled(norm(found.hidden_states[-1]))
    assert torch.allclose(embedding, found.pooler_output, atol=1e-4)
    assert close(ours["attention_rollout"], joined([a.mean(1) for a in weights], last.mean(1), halved=True))
    slopes = torch.autograd.grad(score(embedding), [*weights, last], retain_graph=True)
    shares = [(a * g).relu().mean(1) for a, g in zip([*weights, last], slopes, strict=True)]
    assert close(ours["generic_attention"], joined(shares[:-1], shares[-1], halved=False))
    total = torch.zeros(2, 16)
    for tokens in found.hidden_states[1:]:
        embedding, a = pooled(norm(tokens))
        (slope,) = torch.autograd.grad(score(embedding), a, retain_graph=True)
        total += slope.relu().mean((1, 2))
    assert close(ours["legrad"], total)


@pytest.mark.parametrize(
    "options",
    [{}, {"pool_type": "avg"}, {"attentional_pool": True, "attn_pooler_queries": 16, "attn_pooler_heads": 2}],
    ids=["class token", "average", "CoCa"],
)
def test_open_clip(options: dict[str, Any]) -> None:
    """Each method is of its text; CoCa's 16 queries, as many as places, are none of them, and one alone is read."""
    pytest.importorskip("open_clip", reason="open_clip is not installed")
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    torch.manual_seed(0)
    sees = CLIPVisionCfg(head_width=16, image_size=64, layers=3, width=32, patch_size=16, **options)
    model = CLIP(32, sees, CLIPTextCfg(vocab_size=40, width=32, heads=2, layers=1)).eval()
    classifier = classifier_of(model.visual)
    assert all(name.rpartition(".")[0].endswith("resblocks") for name in classifier.taps.steps if "resblocks" in name)
    assert not any("attn_pool" in name for name in classifier.taps.steps)
    for name in METHODS:
        explain = mw.explainer(name, classifier)
        assert len(explain.reading.blocks) == 3 and explain.reading.size == (4, 4)  # type: ignore[attr-defined]
        assert explain.reading.pooled == bool(options.get("attentional_pool"))  # type: ignore[attr-defined]
        assert int(explain.reading.queries.sum()) == int(explain.reading.pooled)  # type: ignore[attr-defined]
        maps = explain(IMAGES, [[0, 1]] * 2)
        assert maps.std() > 0.05, name
        assert torch.allclose(maps[:, 0], maps[:, 1], atol=0.02) == (name == "attention_rollout"), name
