"""What every method promises beyond one class and one network: targets, precision, networks, progress, listing."""

from collections.abc import Callable

import pytest
import timm
import torch
import torchvision
from explainers.test_methods import CONSTANT, FAST, IMAGES, build  # noqa: F401  (a fixture)
from generators import shared_generators
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods
from maskwise.explainers.base import Explainer

NAMES = methods.names()
CLASSED = [n for n in NAMES if methods.facts(n)["needs_target"]]
BASE = [n for n in NAMES if methods.facts(n)["family"] != "maskers"]
FACTS = {"family", "paper", "needs_gradients", "needs_target", "random", "cost", "caution"}


# Group-CAM differentiates the logit and weighs by the probability; FIDO scores by the log-odds.
BOTH = {"group_cam", "fido"}


def _logit(logits: Tensor) -> Tensor:
    return logits[:, 3]


def _probability(logits: Tensor) -> Tensor:
    return logits.float().softmax(1)[:, 3]


@pytest.mark.parametrize("name", NAMES)
class TestGoals:
    def test_several_classes_are_what_each_class_alone_gives(self, name: str, build: Callable[..., Explainer]) -> None:  # noqa: F811
        explain = build(name)
        together = explain(IMAGES, torch.tensor([[0, 3]] * 3))
        assert together.shape == (3, 2, 40, 52)
        for k, target in enumerate((0, 3)):
            assert torch.allclose(together[:, k], explain(IMAGES, target), atol=1e-4)

    def test_a_score_function_that_picks_a_class_is_that_class(
        self,
        name: str,
        build: Callable[..., Explainer],  # noqa: F811
    ) -> None:
        """By its logit or by its probability, whichever the method scores by."""
        explain = build(name)
        if name == "cam":
            return  # explains classes only; its own test says so
        expected = explain(IMAGES, 3)
        by_logit, by_probability = explain(IMAGES, _logit), explain(IMAGES, _probability)
        assert by_logit.shape == (3, 40, 52)
        if name not in BOTH:
            assert any(torch.allclose(maps, expected, atol=1e-4) for maps in (by_logit, by_probability))

    def test_bf16_is_close(self, name: str, build: Callable[..., Explainer]) -> None:  # noqa: F811
        explain = build(name)
        exact = explain(IMAGES, 3)
        explain.precision = "bf16"
        rough = explain(IMAGES, 3)
        assert rough.dtype == torch.float32
        if name not in CONSTANT:
            assert torch.corrcoef(torch.stack([exact.flatten(), rough.flatten()]))[0, 1] > 0.8


@pytest.mark.parametrize("name", NAMES)
def test_every_method_lists_its_facts(name: str) -> None:
    assert set(methods.facts(name)) == FACTS
    assert methods.get(name).__doc__ and methods.get(name).needs_target == methods.facts(name)["needs_target"]


def networks() -> dict[str, tuple[nn.Module, int]]:
    tv = torchvision.models
    return {
        "resnet18": (tv.resnet18(weights=None), 64),
        "vgg11": (tv.vgg11(weights=None), 64),
        "densenet121": (tv.densenet121(weights=None), 64),
        "mobilenet_v3_small": (tv.mobilenet_v3_small(weights=None), 64),
        "convnext_atto": (timm.create_model("convnext_atto", num_classes=10), 64),
        "vit_tiny": (timm.create_model("vit_tiny_patch16_224", img_size=64, num_classes=10), 64),
        "swin_tiny": (
            timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=2, num_classes=10),
            64,
        ),
    }


@pytest.fixture(scope="module")
def zoo() -> dict[str, Classifier]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return {name: Classifier(net, input_size=size, name=name) for name, (net, size) in networks().items()}


LIGHT = FAST | {
    "rise": {"masks": 4},
    "kernel_shap": {"masks": 4},
    "banzhaf": {"masks": 4},
    "group_cam": {"groups": 4},
    "occlusion": {"window": 0.5, "stride": 0.25},
    "augmented_grad_cam": {"copies": 2, "iterations": 2},
    "xrai": {"steps": 2},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "smooth_grad_cam_pp": {"samples": 2},
    "meaningful_perturbation": {"iterations": 2},
    "extremal_perturbation": {"iterations": 2, "areas": (0.1,)},
    "fido": {"iterations": 2, "samples": 2},
    "guided_feature_inversion": {"iterations": 2},
    "feedback": {"iterations": 2},
    "dabkowski_gal_iterative": {"iterations": 2},
}
ATTENTION = [n for n in NAMES if methods.facts(n)["family"] == "attention"]
NEEDS = dict.fromkeys(ATTENTION, "take grad_cam")
NEEDS |= {
    "cam": "use grad_cam",
    "guided_backprop": "ReLU",
    "deconvnet": "ReLU",
    "desalinet": "ReLU",
    "feedback": "ReLU",
}


@pytest.mark.parametrize(
    "network", ["resnet18", "vgg11", "densenet121", "mobilenet_v3_small", "convnext_atto", "vit_tiny", "swin_tiny"]
)
@pytest.mark.parametrize("name", BASE)
def test_every_method_explains_every_kind_of_network(name: str, network: str, zoo: dict[str, Classifier]) -> None:
    image = torch.rand(1, 3, 48, 60, generator=torch.Generator().manual_seed(1))
    options = dict(LIGHT.get(name, {}))
    if name == "score_cam":
        options["layer"] = zoo[network].tap_names[0]  # the fewest channels, each of which costs a forward
    try:
        maps = explainer(name, zoo[network], **options)(image)
    except InputError as error:
        assert name in NEEDS and NEEDS[name] in str(error)
        return
    assert maps.shape == (1, 48, 60) and maps.isfinite().all() and maps.min() >= 0 and maps.max() <= 1


@pytest.mark.parametrize("name", NAMES)
def test_building_draws_no_random_number_and_half_pictures_are_explained(
    name: str,
    build: Callable[..., Explainer],  # noqa: F811
) -> None:
    """On a CPU, which does not resize pictures in half precision, and at their own size."""
    build(name)  # makes the masker that it reads
    before = shared_generators()
    explain = build(name)
    assert shared_generators() == before
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        given = IMAGES.to(dtype)
        maps = explain(given, 3)
        assert maps.dtype == torch.float32 and torch.equal(maps, explain(given.float(), 3))


def test_loading_a_classifier_draws_no_random_number() -> None:
    from maskwise import load_classifier

    before = torch.get_rng_state()
    load_classifier("efficientnet_lite0")
    assert torch.equal(torch.get_rng_state(), before)


def test_progress_is_told_to_the_end() -> None:
    told: list[tuple[int, int]] = []
    net = Classifier(torchvision.models.resnet18(weights=None), input_size=32)
    explainer("rise", net, masks=10, batch=4, progress=lambda done, total: told.append((done, total)))(
        torch.rand(1, 3, 32, 32), 1
    )
    assert told == [(4, 10), (8, 10), (10, 10)]


def test_targets_of_wrong_shape_are_named() -> None:
    explain = explainer("gradient", Classifier(torchvision.models.resnet18(weights=None), input_size=32))
    images = torch.rand(2, 3, 32, 32)
    for bad, said in (([[1, 2], [3]], "same number"), ([[], []], "same number"), ([1, 2, 3], "3 targets for 2")):
        with pytest.raises(InputError, match=said):
            explain(images, bad)
    with pytest.raises(InputError, match="score function must give"):
        explain(images, lambda logits: logits.sum())


@pytest.mark.parametrize("network", ["vit_tiny", "swin_tiny"])
def test_grad_cam_reaches_the_tokens_of_a_transformer(network: str, zoo: dict[str, Classifier]) -> None:
    """The last block's patch tokens do not reach a class token's answer: the layer before it must be taken."""
    explain = explainer("grad_cam", zoo[network])
    assert explain(torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(1))).std() > 0.01
    assert (explain.layer == zoo[network].tap_names[-1]) == (network == "swin_tiny")  # type: ignore[attr-defined]
