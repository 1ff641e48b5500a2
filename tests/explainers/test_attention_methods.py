"""Methods that read attention: closed forms, and each formula once more by autograd through plain weights."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import timm
import torch
from conftest import Block, tiny_vit
from explainers.families import network
from explainers.test_attention import weights_filed
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer
from maskwise.explainers.attention.base import AttentionExplainer
from maskwise.explainers.contrasts import Contrast
from maskwise.explainers.targets import Targets

TARGET = 2


def bare(module: nn.Module, size: int = 64) -> Classifier:
    """A classifier that takes pixels as they are."""
    return Classifier(module, mean=(0, 0, 0), std=(1, 1, 1), input_size=size)


def pictures(size: int = 64, count: int = 2) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(4))


def raw(name: str, module: nn.Module, images: Tensor, target: int = TARGET, **options: object) -> Tensor:
    """The method's map (N,h,w) of a class before it is stretched."""
    explain = explainer(name, bare(module, images.shape[-1]), **options)
    assert isinstance(explain, AttentionExplainer)
    classes = torch.full((len(images), 1), target)
    with explain.calling():
        return explain.saliency_and_logits(images, Targets(classes))[0][:, 0].detach()


def close(ours: Tensor, theirs: Tensor, share: float = 1e-4) -> bool:
    """Within a share of the largest value, which is not zero."""
    return bool(theirs.abs().max() > 0) and bool((ours - theirs).abs().max() <= share * theirs.abs().max())


def by_autograd(module: nn.Module, images: Tensor) -> tuple[list[Tensor], list[Tensor]]:
    """Weights (N,h,q,T) of all calls by plain kernels, and d logit / d each."""
    with weights_filed(module) as weights:
        score = module(images.clone().requires_grad_(True))[:, TARGET].sum()
    return [a.detach() for a in weights], list(torch.autograd.grad(score, weights))


def set_values(module: nn.Module, change: Callable[[str, Tensor], None]) -> nn.Module:
    with torch.no_grad():
        for name, weight in module.named_parameters():
            change(name, weight)
    return module


# Rollout


def test_rollout_of_uniform_attention() -> None:
    """With zero queries A = J/T, and R = 2^-L I + (1 - 2^-L) J/T: all places alike, and the class token's own share."""
    module = tiny_vit()
    for block in module[1:4]:
        assert isinstance(block, Block)
        set_values(block.qkv, lambda _, weight: weight[:16].zero_())
    tokens, layers = 65, 3
    found = raw("attention_rollout", module, pictures(32))
    assert torch.allclose(found, torch.full((2, 8, 8), (1 - 2**-layers) / tokens), atol=1e-7)


def test_rows_of_rollout_sum_to_one() -> None:
    for name in ("vit", "vit_average", "vit_pooled", "beit"):
        module, size = network(name)
        explain = explainer("attention_rollout", bare(module, size))
        with torch.no_grad(), explain.recorded(pictures(size)) as recorder:
            module(pictures(size))
        row = explain.row([(call, call.weights().mean(1)) for call in recorder.calls], halved=True)
        assert torch.allclose(row.sum(1), torch.ones(2), atol=1e-5), name


def test_rollout_is_the_product_of_matrices() -> None:
    for name, prefix in (("vit", 1), ("vit_average", 0), ("vit_pooled", 0), ("beit", 1), ("deit_distilled", 2)):
        module, size = network(name)
        ours = raw("attention_rollout", module, pictures(size))
        with weights_filed(module) as weights, torch.no_grad():
            module(pictures(size))
        eye = torch.eye(prefix + 16)
        product = eye.expand(2, -1, -1)
        for matrix in weights[:4]:
            added = matrix.mean(1) + eye
            product = added / added.sum(2, keepdim=True) @ product
        if name == "vit_pooled":
            row = (weights[4].mean(1) @ product)[:, 0]
        elif name == "vit":
            row = product[:, 0]
        elif name == "deit_distilled":
            row = (product[:, 0] + product[:, 1]) / 2
        else:
            row = product[:, prefix:].mean(1)
        assert close(ours.flatten(1), row[:, prefix:]), name


def test_rollout_refuses_heads_that_talk() -> None:
    with pytest.raises(
        InputError, match=r"add up to one, and those of classifier do not .*generic_attention or legrad"
    ):
        explainer("attention_rollout", bare(network("cait")[0]))


# Generic attention


def test_one_layer_of_generic_attention_is_its_own_share() -> None:
    """R = I + C, and at the class token's row and the places that is C."""
    module, size = network("vit")
    weights, slopes = by_autograd(module, pictures(size))
    ours = raw("generic_attention", module, pictures(size), start_layer=-1)
    assert close(ours.flatten(1), (weights[-1] * slopes[-1]).relu().mean(1)[:, 0, 1:])


def test_scores_scaled_scale_one_layers_share() -> None:
    module, size = network("vit")
    once = raw("generic_attention", module, pictures(size), start_layer=3)
    set_values(module.head, lambda _, weight: weight.mul_(3))  # type: ignore[arg-type]
    assert close(raw("generic_attention", module, pictures(size), start_layer=3), 3 * once)


@pytest.mark.parametrize("start", [0, 2, -1])
@pytest.mark.parametrize("name", ["vit", "vit_average", "vit_pooled", "beit", "deit_distilled", "cait"])
def test_generic_attention_is_the_product_of_matrices(name: str, start: int) -> None:
    module, size = network(name)
    ours = raw("generic_attention", module, pictures(size), start_layer=start)
    shares = [(a * g).relu().mean(1) for a, g in zip(*by_autograd(module, pictures(size)), strict=True)]
    prefix = {"vit": 1, "beit": 1, "deit_distilled": 2}.get(name, 0)
    product = torch.eye(prefix + 16).expand(2, -1, -1)
    for share in shares[:4][start:]:
        product = product + share @ product
    if name == "cait":  # the class token joins the places; each of these layers renews its row alone
        whole = torch.zeros(2, 17, 17)
        whole[:, 0, 0], whole[:, 1:, 1:] = 1, product
        for share in shares[4:]:
            whole[:, :1] = whole[:, :1] + share @ whole
        row = whole[:, 0, 1:]
    elif name == "vit_pooled":
        row = (shares[4] @ product)[:, 0]
    elif name == "vit":
        row = product[:, 0]
    elif name == "deit_distilled":
        row = (product[:, 0] + product[:, 1]) / 2
    else:
        row = product[:, prefix:].mean(1)
    assert close(ours.flatten(1), row[:, prefix:])


def test_generic_attention_names_its_range() -> None:
    for bad in (-5, 4):
        with pytest.raises(InputError, match=f"start_layer must be from -4 to 3, not {bad}"):
            explainer("generic_attention", bare(network("vit")[0]), start_layer=bad)


# LeGrad


def legrad_of_layers(name: str, module: nn.Module, images: Tensor, score: str) -> list[Tensor]:
    """E_l (N,T) of each block of a network of timm, by a graph of its own through its own weights."""
    blocks, outputs = module.blocks, []  # type: ignore[union-attr]
    handles = [block.register_forward_hook(lambda *given: outputs.append(given[2])) for block in blocks]
    found = []
    with weights_filed(module) as weights:
        module(images.clone().requires_grad_(True))
        for handle in handles:
            handle.remove()
        for layer, tokens in enumerate(list(outputs)):
            if score == "token_mean":
                tokens = tokens.mean(1, keepdim=True).expand_as(tokens)
            del weights[5 if name == "vit_pooled" else 4 :]
            logits = module.forward_head(module.norm(tokens))  # type: ignore[operator]
            by = weights[5] if name == "vit_pooled" and score == "own" else weights[layer]
            (slope,) = torch.autograd.grad(logits[:, TARGET].sum(), by, retain_graph=True)
            found.append(slope.relu().mean((1, 2)))
    return found


@pytest.mark.parametrize("score", ["own", "token_mean"])
@pytest.mark.parametrize("name", ["vit", "vit_average", "vit_pooled", "beit", "vit_registers"])
def test_legrad_is_the_sum_of_gradients_of_each_layers_score(name: str, score: str) -> None:
    module, size = network(name)
    ours = {n: raw("legrad", module, pictures(size), score=score, layers=n) for n in (1, 3, "all")}
    by_layer = legrad_of_layers(name, module, pictures(size), score)
    for number, found in ours.items():
        total = torch.stack(by_layer if number == "all" else by_layer[-int(number) :]).sum(0)
        assert close(found.flatten(1), total[:, -found[0].numel() :]), number


def test_legrad_of_class_attention() -> None:
    """Blocks' own weights, with the score of their tokens through the layers of class attention (CaiT)."""
    module, size = network("cait")
    ours = raw("legrad", module, pictures(size), layers=1)
    _, slopes = by_autograd(module, pictures(size))
    assert close(ours.flatten(1), slopes[3].relu().mean((1, 2)))


def test_legrads_logits_are_the_networks() -> None:
    for name in ("vit", "vit_pooled", "cait", "tv_vit", "hf_vit", "hf_dinov2"):
        module, size = network(name)
        for score in ("own", "token_mean"):
            explain = explainer("legrad", bare(module, size), score=score)
            with explain.calling():
                _, logits = explain.saliency_and_logits(pictures(size), Targets(torch.tensor([[0], [1]])))
            with torch.no_grad():
                assert torch.allclose(logits, module(pictures(size)), atol=1e-4), name


def test_legrad_by_plain_kernels_is_the_same() -> None:
    """Fused or not, timm's and transformers'; also what the others give."""
    transformers = pytest.importorskip("transformers")
    from explainers.families import HF

    from maskwise.classifiers.hf import Logits

    model = transformers.ViTForImageClassification(transformers.ViTConfig(num_labels=4, **HF)).eval()
    for name in ("attention_rollout", "generic_attention", "legrad", "grad_eclip"):
        model.set_attn_implementation("sdpa")
        fused = raw(name, Logits(model), pictures())
        model.set_attn_implementation("eager")
        assert close(raw(name, Logits(model), pictures()), fused), name
        module, size = network("vit_pooled")
        fused = raw(name, module, pictures(size))
        with weights_filed(module):
            pass
        assert close(raw(name, module, pictures(size)), fused), name


def test_legrad_names_its_ranges() -> None:
    classifier = bare(network("vit")[0])
    for bad in (0, 5, "some", -1, 2.5):
        with pytest.raises(InputError, match="layers must be from 1 to 4, or 'all', not"):
            explainer("legrad", classifier, layers=bad)
    with pytest.raises(InputError, match="score is own or token_mean"):
        explainer("legrad", classifier, score="cls")


def test_legrad_refuses_a_head_that_mixes_pictures() -> None:
    class Mixing(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x - x.mean(0, keepdim=True) / 2

    module = tiny_vit()
    module.insert(6, Mixing())
    with pytest.raises(InputError, match="does not take pictures one by one; take generic_attention"):
        explainer("legrad", bare(module, 32))


# Grad-ECLIP


@pytest.mark.parametrize(("name", "target"), [("vit", 2), ("vit_average", 2), ("vit_registers", 0), ("vit_pooled", 2)])
def test_grad_eclip_is_its_formula(name: str, target: int) -> None:
    """Of a class token: the sum over channels, place by place; of an average the same of each query."""
    module, size = network(name)
    ours = raw("grad_eclip", module, pictures(size), target)
    layer = module.attn_pool if name == "vit_pooled" else module.blocks[-1].attn  # type: ignore[union-attr, index]
    seen: dict[str, Tensor] = {}
    parts = {"out": layer.proj} | ({"q": layer.q, "kv": layer.kv} if name == "vit_pooled" else {"qkv": layer.qkv})
    for key, part in parts.items():
        part.register_forward_hook(
            lambda _, args, given, key=key: seen.update({key: args[0] if key == "out" else given})
        )
    score = module(pictures(size).requires_grad_(True))[:, target].sum()
    (w,) = torch.autograd.grad(score, seen["out"])
    if name == "vit_pooled":
        query = seen["q"].expand(2, -1, -1)
        key, value = seen["kv"].chunk(2, -1)
    else:
        query, key, value = seen["qkv"].chunk(3, -1)
    prefix = {"vit": 1, "vit_registers": 5}.get(name, 0)
    expected = torch.zeros_like(ours).flatten(1)
    for n in range(2):
        for r in range(w.shape[1]):
            cosines = torch.stack([torch.cosine_similarity(query[n, r], k, dim=0) for k in key[n, prefix:]])
            loosened = (cosines - cosines.min()) / (cosines.max() - cosines.min())
            for i in range(expected.shape[1]):
                expected[n, i] += loosened[i].detach() * (w[n, r] * value[n, prefix + i]).sum().detach()
    assert close(ours.flatten(1), expected.relu())


def test_grad_eclip_of_class_attention() -> None:
    """CaiT's last layer: its class token asks, and is itself the first of the keys, no place."""
    module, size = network("cait")
    ours = raw("grad_eclip", module, pictures(size))
    layer, seen = module.blocks_token_only[-1].attn, dict[str, Tensor]()  # type: ignore[union-attr, index]
    for name in ("q", "k", "v", "proj"):
        part = getattr(layer, name)
        part.register_forward_hook(
            lambda _, args, given, name=name: seen.update({name: args[0] if name == "proj" else given})
        )
    (w,) = torch.autograd.grad(module(pictures(size).requires_grad_(True))[:, TARGET].sum(), seen["proj"])
    query, key, value = (seen[name].detach() for name in ("q", "k", "v"))
    cosines = torch.cosine_similarity(query.reshape(2, 1, -1), key[:, 1:], dim=2)
    low, high = cosines.amin(1, keepdim=True), cosines.amax(1, keepdim=True)
    said = (w.reshape(2, 1, -1) * value[:, 1:]).sum(2)
    assert close(ours.flatten(1), ((cosines - low) / (high - low) * said).relu())


# Of all


@pytest.mark.parametrize("name", ["attention_rollout", "generic_attention", "legrad", "grad_eclip"])
@pytest.mark.parametrize("kind", ["vit", "vit_pooled", "cait", "tv_vit", "hf_dinov2"])
def test_company_changes_nothing(name: str, kind: str) -> None:
    module, size = network(kind)
    if (name, kind) == ("attention_rollout", "cait"):
        return  # refused, see above
    explain, images = explainer(name, bare(module, size)), pictures(size, 3)
    whole = explain(images, [[0, 1], [2, 3], [4, 0]])
    assert whole.shape == (3, 2, size, size)
    for n, pair in enumerate(([0, 1], [2, 3], [4, 0])):
        for k, target in enumerate(pair):
            assert torch.allclose(explain(images[n : n + 1], target)[0], whole[n, k], atol=1e-4)
    score = explain(images, lambda logits: logits[:, 1] - logits[:, 3])
    same = explain(images, [lambda logits: logits[:, 1] - logits[:, 3]] * 3)
    assert torch.allclose(score, same, atol=1e-5)


@pytest.mark.parametrize("kind", ["vit", "vit_pooled"])
def test_of_no_class_it_is_that_of_the_top_class_of_the_whole_network(kind: str) -> None:
    """Tokens of an early block speak for other classes, and LeGrad does not follow them; nor do contrasts."""
    module, size = network(kind)
    classifier, images = bare(module, size), pictures(size, 3)
    order = module(images).argsort(1, descending=True)
    for name in ("legrad", "generic_attention", "grad_eclip"):
        explain = explainer(name, classifier)
        assert torch.allclose(explain(images), explain(images, order[:, 0].tolist()), atol=1e-5), name
        nearest = explain(images, Contrast(nearest=1))
        named = explain(images, [Contrast(int(row[0]), int(row[1])) for row in order])
        assert torch.allclose(nearest, named, atol=1e-5), name


def test_a_place_that_alone_matters_is_found() -> None:
    """The class token attends to the patch with the bright stripe, whose values alone make the logit."""
    module = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=1, num_classes=2, num_heads=1, embed_dim=8)
    chosen = (2, 1)

    def change(name: str, weight: Tensor) -> None:
        weight.zero_()
        if "norm" in name and name.endswith("weight"):
            weight.fill_(1)
        if name == "patch_embed.proj.weight":
            weight[0] = 1 / weight[0].numel()
        if name == "blocks.0.attn.qkv.weight":
            weight[8, 0], weight[16, 0] = 1, 1  # key and value 0 are channel 0
        if name == "blocks.0.attn.qkv.bias":
            weight[0] = 1  # all ask for it
        if name in ("blocks.0.attn.proj.weight", "head.weight"):
            weight[0, 0] = 1

    set_values(module.eval(), change)
    image = torch.zeros(1, 3, 64, 64)
    image[..., 16 * chosen[0] : 16 * chosen[0] + 16, 16 * chosen[1] : 16 * chosen[1] + 16] = 1
    for name in ("legrad", "generic_attention", "grad_eclip"):
        explain = explainer(name, bare(module))
        with explain.calling():
            maps = explain.saliency_and_logits(image, Targets(torch.tensor([[0]])))[0]
        found = min_max(maps)[0, 0]
        assert found[chosen] == 1 and found.sum() - 1 < 1e-3, name
