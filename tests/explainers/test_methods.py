"""Every registered method: batch, sizes, targets, flat answers, nothing left behind; and closed forms."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch
from conftest import tiny_net, tiny_vit
from generators import shared_generators
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods
from maskwise.explainers.base import Explainer
from maskwise.maskers import ClassMasker, Masker, ShapleyMasker, save_masker
from maskwise.maskers.layout import Layout

IMAGES = torch.rand(3, 3, 40, 52, generator=torch.Generator().manual_seed(0))
# Fewer steps than the papers', so that every method can be called often.
FAST = {
    "rise": {"masks": 40},
    "kernel_shap": {"masks": 32},
    "banzhaf": {"masks": 32},
    "smooth_grad": {"samples": 5},
    "smooth_grad_cam_pp": {"samples": 5},
    "augmented_grad_cam": {"copies": 6, "iterations": 10},
    "integrated_gradients": {"steps": 8},
    "xrai": {"steps": 16},
    "occlusion": {"window": 0.25, "stride": 0.125},
    "meaningful_perturbation": {"iterations": 30, "infill": "mean", "l1": 0, "start": "ones"},
    "extremal_perturbation": {"iterations": 10, "areas": (0.2,)},
    "fido": {"iterations": 20, "samples": 2},
    "opti_cam": {"iterations": 5},
    "guided_feature_inversion": {"iterations": 20},
    "dabkowski_gal_iterative": {"iterations": 20, "learning_rate": 1.0},
}
OPTIMISED = {"meaningful_perturbation", "extremal_perturbation", "fido", "guided_feature_inversion"}
OPTIMISED |= {"dabkowski_gal_iterative"}
CONSTANT = {"uniform"}  # a map without contrast is what it promises


@pytest.fixture
def build(request: pytest.FixtureRequest, tiny: Classifier, tmp_path: Path) -> Callable[..., Explainer]:
    """An explainer by name on the tiny network; maskers get an untrained decoder."""
    if methods.facts(request.node.callspec.params["name"])["family"] == "maskers":
        with torch.random.fork_rng():
            torch.manual_seed(1)
            save_masker(tmp_path / "any.safetensors", Masker.build(tiny), tiny, {})
            save_masker(tmp_path / "class.safetensors", ClassMasker.build(tiny), tiny, {})
            cells = ShapleyMasker.build(tiny)
            nn.init.normal_(cells.decoder.out.weight)
            save_masker(tmp_path / "cells.safetensors", cells, tiny, {})
            recipe = {"decoder": "mixed", "class_tap": True, "width": 8}
            mixed = Masker.build(tiny, layout=Layout.of({**recipe, "head_std": 0.5}))
            save_masker(tmp_path / "mixed.safetensors", mixed, tiny, recipe)

    def make(name: str, classifier: Classifier = tiny) -> Explainer:
        options = dict(FAST.get(name, {}))
        if methods.facts(name)["family"] == "maskers":
            kind = {"dabkowski_gal": "class", "distilled": "mixed", "class_casm": "mixed", "fast_shap": "cells"}.get(
                name, "any"
            )
            options["masker"] = tmp_path / f"{kind}.safetensors"
        return explainer(name, classifier, **options)

    return make


def state(classifier: Classifier) -> tuple:  # type: ignore[type-arg]
    return (
        [m.training for m in classifier.modules()],
        [len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) for m in classifier.modules()],
        [(p.requires_grad, p.grad) for p in classifier.parameters()],
        shared_generators(),
    )


@pytest.mark.parametrize("name", [name for name, facts in methods.items() if facts["family"] != "maskers"])
def test_grey_oblong_pictures_of_findings(name: str) -> None:
    """One channel, another height than width, sigmoids: as networks of X-rays are; several classes as each alone."""
    network = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 12, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Conv2d(12, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(16, 5),
    )  # fmt: skip
    with torch.no_grad():
        for k, part in enumerate(network.parameters()):
            part.copy_(0.4 * torch.randn(part.shape, generator=torch.Generator().manual_seed(k)))
    grey = Classifier(network.eval(), mean=[0.5], std=[0.25], input_size=(32, 48), activation="sigmoid")
    explain = partial(explainer, name, grey, **FAST.get(name, {}))
    images = torch.rand(2, 1, 40, 66, generator=torch.Generator().manual_seed(9))
    try:
        maps = explain()(images, [[1, 3]] * 2)
    except InputError as error:
        assert "transformer" in str(error), "no other method refuses such a network"
        return
    assert maps.shape == (2, 2, 40, 66) and maps.isfinite().all()
    alone = explain()(images[1:], 3)[0]
    torch.testing.assert_close(maps[1, 1], alone, atol=2e-3, rtol=0)


@pytest.mark.parametrize("name", methods.names())
class TestEveryMethod:
    def test_a_contrast_is_the_function_of_its_score(self, name: str, build: Callable[..., Explainer]) -> None:
        """Settled on the clean picture, whatever the method then does to it; or refused in one line."""
        explain = build(name)
        try:
            maps = explain(IMAGES, "3 - 1")
        except InputError as error:
            assert "score" in str(error) or "class" in str(error)
            return
        assert maps.shape == (3, 40, 52) and explain(IMAGES, "finer").isfinite().all()
        scored_by_probability = name in (
            "rise",
            "kernel_shap",
            "banzhaf",
            "occlusion",
            "score_cam",
            "recipro_cam",
            "group_cam",
        )
        if not methods.facts(name)["random"] and not scored_by_probability and name not in OPTIMISED:
            expected = build(name)(IMAGES, lambda logits: logits[:, 3] - logits[:, 1])
            torch.testing.assert_close(maps, expected, atol=1e-4, rtol=0)

    def test_maps_are_as_promised(self, name: str, build: Callable[..., Explainer]) -> None:
        maps = build(name)(IMAGES)
        assert maps.shape == (3, 40, 52) and maps.dtype == torch.float32
        assert maps.min() >= 0 and maps.max() <= 1
        assert (maps.std() > 1e-3) != (name in CONSTANT)

    def test_batch_equals_single(self, name: str, build: Callable[..., Explainer]) -> None:
        explain = build(name)
        singles = torch.cat([explain(IMAGES[i : i + 1]) for i in range(3)])
        assert torch.allclose(explain(IMAGES), singles, atol=1e-4)

    def test_targets_of_every_kind(self, name: str, build: Callable[..., Explainer], tiny: Classifier) -> None:
        explain = build(name)
        one = explain(IMAGES, 2)
        for same in ("2", [2, 2, 2], torch.tensor([2, 2, 2])):
            assert torch.equal(explain(IMAGES, same), one)
        top = tiny.logits(tiny.prepare(IMAGES)).argmax(1)
        assert torch.allclose(explain(IMAGES), explain(IMAGES, top), atol=1e-5)
        if methods.facts(name)["needs_target"]:
            assert not torch.allclose(one, explain(IMAGES, 3))

    def test_nothing_is_left_behind(self, name: str, build: Callable[..., Explainer], tiny: Classifier) -> None:
        explain = build(name)
        tiny.module[1].train()  # type: ignore[index, union-attr]
        before = state(tiny)
        explain(IMAGES)
        for bad in (99, "no such class", [1, 2]):
            with pytest.raises(InputError):
                explain(IMAGES, bad)
        assert state(tiny) == before

    def test_nothing_is_left_behind_by_a_network_that_raises(
        self, name: str, build: Callable[..., Explainer], tiny: Classifier
    ) -> None:
        explain = build(name)
        if methods.facts(name)["family"] == "references":
            return  # these never run the network

        def fail(*args: object) -> None:
            raise RuntimeError("broken layer")

        broken = getattr(explain, "masker", None)
        last = (tiny if broken is None else broken.encoder).module[-1]
        handle = last.register_forward_pre_hook(fail)
        before = state(tiny)
        with pytest.raises(RuntimeError, match="broken layer"):
            explain(IMAGES)
        assert state(tiny) == before
        handle.remove()

    def test_it_works_where_gradients_are_off(self, name: str, build: Callable[..., Explainer]) -> None:
        explain = build(name)
        expected = explain(IMAGES)
        named = explain(IMAGES, 3)
        with torch.inference_mode():
            assert torch.allclose(explain(IMAGES.clone()), expected, atol=1e-5)
            assert torch.allclose(explain(IMAGES.clone(), 3), named, atol=1e-5)

    @pytest.mark.parametrize(
        "images",
        [
            torch.rand(3, 8, 8),
            torch.rand(0, 3, 8, 8),
            torch.rand(1, 1, 8, 8),
            torch.rand(1, 3, 8, 8) * 255,
            torch.zeros(1, 3, 8, 8, dtype=torch.uint8),
            torch.full((1, 3, 8, 8), torch.nan),
        ],
    )
    def test_bad_images_are_named(self, name: str, build: Callable[..., Explainer], images: Tensor) -> None:
        with pytest.raises(InputError, match="images must"):
            build(name)(images)


@pytest.mark.parametrize(
    "name", [n for n, facts in methods.items() if facts["needs_target"] and facts["family"] != "maskers"]
)
def test_a_flat_answer_gives_zeros_and_nan_is_an_error(name: str) -> None:
    for value, expected in ((0.0, 0.0), (torch.nan, None)):
        net = tiny_vit() if methods.facts(name)["family"] == "attention" else tiny_net()
        with torch.no_grad():
            net[-1].weight.fill_(value)  # type: ignore[index, operator, union-attr]
        explain = explainer(name, Classifier(net, input_size=32), **FAST.get(name, {}))
        if expected is None:
            with pytest.raises(InputError, match=r"NaN|pooling"):
                explain(IMAGES)
        elif name in OPTIMISED:  # these end near where they began, which is a map too
            assert explain(IMAGES).isfinite().all()
        else:
            assert (explain(IMAGES) == expected).all()


def test_gradient_of_a_linear_network_is_its_weight() -> None:
    linear = nn.Linear(3 * 8 * 8, 4)
    net = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.ReLU(), nn.Flatten(), linear)
    with torch.no_grad():
        net[0].weight.copy_(torch.eye(3)[:, :, None, None])  # type: ignore[operator, union-attr]
    classifier = Classifier(net, mean=(0, 0, 0), std=(1, 1, 1), input_size=8)
    weight = linear.weight[2].reshape(3, 8, 8).abs().amax(0)
    expected = (weight - weight.min()) / (weight.max() - weight.min())
    assert torch.allclose(explainer("gradient", classifier)(torch.rand(1, 3, 8, 8) + 1e-3, 2)[0], expected, atol=1e-5)


def test_grad_cam_is_cam_on_a_network_of_global_average_pooling() -> None:
    """For GAP + linear, mean gradients are w/(hw): Grad-CAM is the ReLU of CAM (Selvaraju et al., section 3.1)."""
    classifier = Classifier(tiny_net(), input_size=32)
    images = torch.rand(2, 3, 32, 32)
    _, taps = classifier.features(images)
    cam = torch.einsum("nkhw,k->nhw", taps[-1], classifier.module[-1].weight[3]).relu()  # type: ignore[index, union-attr]
    low, high = cam.amin((1, 2), keepdim=True), cam.amax((1, 2), keepdim=True)
    expected = torch.nn.functional.interpolate(((cam - low) / (high - low))[:, None], (32, 32), mode="bilinear")[:, 0]
    assert torch.allclose(explainer("grad_cam", classifier)(images, 3), expected, atol=1e-5)


def test_unknown_methods_options_and_layers() -> None:
    classifier = Classifier(tiny_net(), input_size=32)
    with pytest.raises(InputError, match="did you mean grad_cam"):
        explainer("gradcam", classifier)
    with pytest.raises(InputError, match="no option 'layers'; it has layer"):
        explainer("grad_cam", classifier, layers="x")
    with pytest.raises(InputError, match="no layer 'x'"):
        explainer("grad_cam", classifier, layer="x")
