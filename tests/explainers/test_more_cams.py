"""RefineCAM, Recipro-CAM and Score-CAM of a few channels: closed forms, and plain loops."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torch.nn.functional as F
from conftest import Block, First, Patches, tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer
from maskwise.explainers.recipro_cam import one_place_each

PLAIN: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "input_size": 32}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))


def large(maps: Tensor) -> Tensor:
    return F.interpolate(maps[:, None], (32, 32), mode="bilinear", align_corners=False)[:, 0]


@pytest.fixture
def classifier() -> Classifier:
    return Classifier(tiny_net(), **PLAIN)


# ---- RefineCAM ----------------------------------------------------------------------------------------------


def test_two_equal_layers_give_the_square() -> None:
    net = tiny_net()
    net.insert(11, nn.Identity())  # type: ignore[operator]
    twice = Classifier(net, **PLAIN)
    one = explainer("grad_cam_pp", twice, layer="10").low_resolution(IMAGES, _target(3))[0]
    both = explainer("refine_cam", twice, layers="10,11").low_resolution(IMAGES, _target(3))[0]
    assert torch.allclose(both, one**2, atol=1e-4) and both.std() > 0.1


def _target(index: int) -> Any:
    from maskwise.explainers.targets import Targets

    return Targets(torch.full((2, 1), index))


def test_layers_of_several_scales_are_multiplied(classifier: Classifier) -> None:
    """Each layer's Grad-CAM++ by itself; classes that share a forward have the maps that they have alone."""
    explain = explainer("refine_cam", classifier, top=None)
    assert explain.layers == classifier.tap_names and len(explain.layers) == 3  # type: ignore[attr-defined]
    product = torch.ones(2, 32, 32)
    for name in classifier.tap_names:
        low = explainer("grad_cam_pp", classifier, layer=name).low_resolution(IMAGES, _target(2))[0][:, 0]
        product = product * large(low)
    assert torch.allclose(explain(IMAGES, 2), min_max(product), atol=1e-4)
    assert torch.allclose(explain(IMAGES, [[2, 0]] * 2)[:, 0], explain(IMAGES, 2), atol=1e-5)
    assert explainer("refine_cam", classifier).layers == classifier.tap_names[-2:]  # type: ignore[attr-defined]
    alone = explainer("refine_cam", classifier, top=1)(IMAGES, 2)
    assert torch.allclose(
        alone, explainer("grad_cam_pp", classifier, layer=classifier.tap_names[-1])(IMAGES, 2), atol=1e-4
    )
    for options, line in (({"top": 0}, "at least 1"), ({"layers": "10,none"}, "no layer 'none'")):
        with pytest.raises(InputError, match=line):
            explainer("refine_cam", classifier, **options)


def test_layers_that_the_answer_does_not_reach_are_left_out() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=4, num_classes=3)
    vit = Classifier(net, input_size=64)
    explain = explainer("refine_cam", vit)
    assert "norm" in vit.tap_names and "norm" not in explain.layers and len(explain.layers) > 1  # type: ignore[attr-defined]


def test_a_scale_whose_last_layer_is_not_read_has_the_one_before() -> None:
    """A stem of convolutions and blocks with a class token behind it: the blocks' scale is not left out."""
    net = nn.Sequential(nn.Conv2d(3, 3, 3, 2, 1), nn.ReLU(), Patches(places=16), Block(), Block(), First())
    hybrid = Classifier(nn.Sequential(*net, nn.Linear(16, 3)).eval(), **PLAIN)
    assert hybrid.tap_names == ("1", "4"), "the last block, whose places nothing reads"
    assert explainer("refine_cam", hybrid).layers == ("1", "3")  # type: ignore[attr-defined]


def test_refine_cam_of_activations_below_zero_equals_its_formula() -> None:
    """Behind SiLU: Grad-CAM++'s weights, of the activations as they are, and the ReLU of each layer's sum alone."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        fine = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.SiLU())
        deep = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.SiLU())
        net = nn.Sequential(fine, deep, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 4)).eval()
    first = net[0](IMAGES)
    second = net[1](first)
    assert (first < 0).float().mean() > 0.2 and (second < 0).float().mean() > 0.2
    slopes = torch.autograd.grad(net[2:](second)[:, 3].sum(), (first, second))
    expected = torch.ones(2, 16, 16)
    for grid, slope in zip((first, second), slopes, strict=True):
        alpha = slope**2 / (2 * slope**2 + grid.sum((2, 3), keepdim=True) * slope**3)
        alpha = torch.where(slope == 0, 0, alpha)
        one = min_max(((alpha * slope.relu()).sum((2, 3), keepdim=True) * grid).sum(1).relu())
        expected *= F.interpolate(one[:, None].detach(), (16, 16), mode="bilinear", align_corners=False)[:, 0]
    classifier = Classifier(net, **PLAIN)
    found = explainer("refine_cam", classifier, layers="0.1,1.1").low_resolution(IMAGES, _target(3))[0][:, 0]
    assert torch.allclose(found, min_max(expected), atol=1e-3) and found.std() > 0.05


# ---- Recipro-CAM --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scoring", ["probability", "logit"])
def test_recipro_cam_equals_a_loop_over_places(scoring: str, classifier: Classifier) -> None:
    net = classifier.module
    activation = net[:11](IMAGES)  # type: ignore[index]
    expected = torch.zeros(2, 8, 8)
    for n in range(2):
        for i in range(8):
            for j in range(8):
                alone = torch.zeros_like(activation[n : n + 1])
                alone[..., i, j] = activation[n, :, i, j]
                logits = net[11:](alone)[0]  # type: ignore[index]
                expected[n, i, j] = (logits if scoring == "logit" else logits.softmax(0))[3]
    maps = explainer("recipro_cam", classifier, layer="10", scoring=scoring)(IMAGES, 3)
    assert torch.allclose(maps, large(min_max(expected.detach())), atol=1e-3) and maps.std() > 0.1


def test_logits_behind_average_pooling_are_cam(classifier: Classifier) -> None:
    recipro = explainer("recipro_cam", classifier, layer="10", scoring="logit")(IMAGES, [[1, 4]] * 2)
    assert torch.allclose(recipro, explainer("cam", classifier, layer="10")(IMAGES, [[1, 4]] * 2), atol=1e-3)


def test_tokens_keep_their_prefix_and_neighbours() -> None:
    """Against a loop over the tokens of a ViT with registers, through its last block and head run apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        options = {"img_size": 56, "depth": 3, "embed_dim": 48, "num_heads": 3, "num_classes": 4}
        net = timm.create_model("vit_base_patch14_reg4_dinov2", **options).eval().double()
        for weight in net.parameters():
            if weight.ndim > 1:
                nn.init.kaiming_normal_(weight)
    vit = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=56)
    images = torch.rand(1, 3, 56, 56, generator=torch.Generator().manual_seed(1))
    explain = explainer("recipro_cam", vit)
    assert explain.layer == "blocks.1"  # type: ignore[attr-defined]
    seen: list[Tensor] = []
    handle = net.blocks[1].register_forward_hook(lambda _, __, output: seen.append(output))
    net(images.double())
    handle.remove()
    expected = torch.zeros(4, 4)
    for i in range(4):
        for j in range(4):
            share = torch.zeros(4, 4)
            for y in range(max(i - 1, 0), min(i + 2, 4)):
                for x in range(max(j - 1, 0), min(j + 2, 4)):
                    share[y, x] = 0.5 ** (abs(y - i) + abs(x - j))
            alone = torch.cat([seen[0][:, :5], seen[0][:, 5:] * share.reshape(1, 16, 1)], 1)
            expected[i, j] = net.forward_head(net.norm(net.blocks[2](alone)))[0, 2]
    found = explain.low_resolution(images, _first(2))[0][0, 0]
    assert torch.allclose(found, min_max(expected[None].detach())[0], atol=1e-3) and found.std() > 0.1


def test_neighbours_count_half_and_corners_a_quarter() -> None:
    """Where no norm comes behind: one that divides by a token's own length sees no difference between 1/2 and 1/4.

    Behind a mean of tokens the logit is linear in them, so that the map is a sum over 3x3 places; of each picture, its
    own class.
    """
    net = nn.Sequential(Patches(places=64), nn.Identity(), Mean(), nn.Linear(16, 3))
    tokens = Classifier(net, taps=["1"], **PLAIN)
    found = explainer("recipro_cam", tokens, layer="1").low_resolution(IMAGES, _each(2, 0))[0][:, 0]
    said = torch.stack([net[0](IMAGES)[n, 1:] @ net[3].weight[k] for n, k in ((0, 2), (1, 0))])  # type: ignore[operator, union-attr, index]
    kernel = torch.tensor([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]])
    expected = F.conv2d(said.detach().unflatten(1, (1, 8, 8)), kernel[None, None], padding=1)[:, 0]
    assert torch.allclose(found, min_max(expected), atol=1e-3) and found.std() > 0.1


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(1)


def test_places_of_several_pictures_follow_one_another() -> None:
    """All places of the first picture, then all of the second: each row keeps its own place alone."""
    layer = nn.Identity()
    maps = torch.rand(2, 5, 3, 4)
    with one_place_each(nn.Sequential(layer), "0", 1, lambda output: output, "cell") as grids:
        rows = layer(maps)
    assert grids == [(3, 4)] and rows.shape == (24, 5, 3, 4)
    for n in range(2):
        for place in range(12):
            alone = torch.zeros(5, 12)
            alone[:, place] = maps[n].flatten(1)[:, place]
            assert torch.equal(rows[12 * n + place].flatten(1), alone)


def _each(*classes: int) -> Any:
    from maskwise.explainers.targets import Targets

    return Targets(torch.tensor(classes)[:, None])


def _first(index: int) -> Any:
    from maskwise.explainers.targets import Targets

    return Targets(torch.tensor([[index]]))


def test_what_lies_behind_the_layer_runs_in_float32_also_under_autocast(classifier: Classifier) -> None:
    """In bfloat16 the scores of places, which hardly differ, would be of a few values."""
    half = explainer("recipro_cam", classifier, layer="10", precision="bf16")(IMAGES, 3)
    assert torch.allclose(half, explainer("recipro_cam", classifier, layer="10")(IMAGES, 3), atol=0.1)
    assert len(half.unique()) > 200


def test_what_leads_around_the_layer_is_said() -> None:
    class Skip(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1), nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.a(x)
            return self.head((x + self.b(x)).mean((2, 3)))

    around = Classifier(Skip(), taps=["b"], **PLAIN)
    with pytest.raises(InputError, match="leads around it.*name a later `layer`"):
        explainer("recipro_cam", around, layer="b")


def test_recipro_cam_exports_to_onnx(classifier: Classifier, tmp_path: Path) -> None:
    """As one graph from pictures to maps of all classes: no gradient, no choice by values."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    explain = explainer("recipro_cam", classifier, layer="10")

    class Maps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.module = classifier.module

        def forward(self, images: Tensor) -> Tensor:
            return explain.saliency(images, _all)

    from maskwise.explainers.targets import Targets

    _all = Targets(torch.arange(5).expand(2, 5))
    torch.onnx.export(Maps().eval(), (IMAGES,), tmp_path / "maps.onnx", dynamo=True, verbose=False)
    session = runtime.InferenceSession(str(tmp_path / "maps.onnx"), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: IMAGES.numpy()})
    with torch.no_grad():
        expected = explain.saliency(IMAGES, _all)
    assert found.shape == (2, 5, 8, 8) and torch.allclose(torch.from_numpy(found), expected, atol=1e-5)


def test_a_module_that_is_called_twice_is_read_at_its_last_call(classifier: Classifier) -> None:
    """Or at the one that is named; `relu` is the same module in three places here."""
    net = tiny_net()
    for place in (6, 10):
        net[place] = net[2]  # type: ignore[operator, index]
    shared = Classifier(net, taps=["2"], **PLAIN)
    expected = explainer("recipro_cam", classifier, layer="10")(IMAGES, 3)
    assert torch.allclose(explainer("recipro_cam", shared, layer="2")(IMAGES, 3), expected, atol=1e-5)
    first = explainer("recipro_cam", classifier, layer="6")(IMAGES, 3)
    assert torch.allclose(explainer("recipro_cam", shared, layer="2#2")(IMAGES, 3), first, atol=1e-5)


# ---- Score-CAM of a few channels ----------------------------------------------------------------------------


def strong() -> Classifier:
    net = copy.deepcopy(tiny_net())
    net[-1].weight.data *= 300  # type: ignore[index, operator, union-attr]
    return Classifier(net, **PLAIN)


def test_smooth_grad_cam_pp_behind_average_pooling_is_grad_cam_pp() -> None:
    """d logit / d activation is w / (h w) there, whatever the picture; at an earlier layer noise is heard."""
    classifier = Classifier(tiny_net(), input_size=32)
    for layer, same in (("10", True), ("6", False)):
        plain = explainer("grad_cam_pp", classifier, layer=layer)(IMAGES, 3)
        noisy = explainer("smooth_grad_cam_pp", classifier, layer=layer, samples=4, noise=0.5)(IMAGES, 3)
        assert torch.allclose(plain, noisy, atol=1e-5) == same


@pytest.mark.parametrize(("variant", "dropped"), [("released", "clean"), ("paper", "clean"), ("paper", "released")])
def test_gscorecam_equals_a_loop_over_channels(variant: str, dropped: str) -> None:
    classifier = strong()
    net, activation = classifier.module, classifier.module[:11](IMAGES).detach().requires_grad_()  # type: ignore[index]
    (gradient,) = torch.autograd.grad(net[11:](activation)[:, 3].sum(), activation)  # type: ignore[index]
    expected = torch.zeros(2, 32, 32)
    for n in range(2):
        best = gradient[n].mean((1, 2)).topk(5).indices.tolist()
        weights = {}
        for k in range(activation.shape[1]):
            mask = large(activation[n, k][None])
            if k in best:
                logits = net((IMAGES[n] * min_max(mask))[None])[0]  # type: ignore[operator]
                weights[k] = logits.softmax(0)[3] if variant == "released" else logits[3]
            elif dropped == "released":
                weights[k] = torch.tensor(0.0)
        shares = torch.stack(list(weights.values()))
        shares = shares if variant == "released" else shares.softmax(0)
        for k, share in zip(weights, shares, strict=True):
            if activation[n, k].max() > activation[n, k].min():
                expected[n] += (share * large(activation[n, k][None])[0]).detach()
    maps = explainer("score_cam", classifier, layer="10", top=5, variant=variant, dropped=dropped)(IMAGES, 3)
    assert torch.allclose(maps, min_max(expected.relu()), atol=1e-3) and maps.std() > 0.05


@pytest.mark.parametrize("level", [0.0, 0.7])
def test_all_channels_as_the_top_ones_are_score_cam(level: float) -> None:
    """One of them the same everywhere: it has no contrast, masks nothing and adds nothing."""
    classifier = strong()
    last = classifier.module[8]  # type: ignore[index]
    with torch.no_grad():
        last.weight[4], last.bias[4] = 0, level
    for variant in ("released", "paper"):
        whole = explainer("score_cam", classifier, layer="10", variant=variant)
        again = explainer("score_cam", classifier, layer="10", variant=variant, top=99)
        assert torch.allclose(whole(IMAGES, [[3, 1]] * 2), again(IMAGES, [[3, 1]] * 2), atol=1e-4)
        assert torch.allclose(whole.saliency(IMAGES, _target(3)), again.saliency(IMAGES, _target(3)), atol=1e-4)
    with pytest.raises(InputError, match="at least 1"):
        explainer("score_cam", classifier, top=0)
