"""One network, written in many ways: the same maps; where one can't be explained, one line that says why."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from torchvision.models import VisionTransformer

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers import explainer, methods

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
# few samples and steps, and still each path of the method
FEW: dict[str, dict[str, Any]] = {
    "rise": {"masks": 40}, "kernel_shap": {"masks": 30}, "banzhaf": {"masks": 30}, "integrated_gradients": {"steps": 6},
    "smooth_grad": {"samples": 3}, "smooth_grad_cam_pp": {"samples": 3}, "opti_cam": {"iterations": 6},
    "meaningful_perturbation": {"iterations": 6}, "dabkowski_gal_iterative": {"iterations": 5},
    "extremal_perturbation": {"iterations": 5, "areas": (0.2,)}, "fido": {"iterations": 4, "samples": 2},
    "guided_feature_inversion": {"iterations": 4, "inversion": 2}, "augmented_grad_cam": {"copies": 4},
    "xrai": {"steps": 4},
}  # fmt: skip
READ = [
    name
    for name, facts in methods.items()
    if facts["family"] not in ("attention", "references", "maskers") and name != "score_cam"
]
GRADIENTS = [name for name in READ if methods.facts(name)["needs_gradients"]]


class Net(nn.Module):
    """Three scales with a residual block, written plainly."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1, self.relu1 = nn.Conv2d(3, 8, 3, 1, 1), nn.BatchNorm2d(8), nn.ReLU()
        self.conv2, self.norm2, self.relu2 = nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12), nn.ReLU()
        self.conv3, self.norm3, self.relu3 = nn.Conv2d(12, 12, 3, 1, 1), nn.BatchNorm2d(12), nn.ReLU()
        self.conv4, self.relu4 = nn.Conv2d(12, 16, 3, 2, 1), nn.ReLU()
        self.pool, self.head = nn.AdaptiveAvgPool2d(1), nn.Linear(16, 5)

    def features(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        x = self.relu3(self.norm3(self.conv3(x)) + x)
        return self.relu4(self.conv4(x))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.pool(self.features(x)).flatten(1))


class InPlace(Net):
    def __init__(self) -> None:
        super().__init__()
        for i in range(1, 5):
            setattr(self, f"relu{i}", nn.ReLU(inplace=True))

    def features(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(x)))
        x = self.relu2(self.norm2(self.conv2(x)))
        y = self.norm3(self.conv3(x))
        y += x
        return self.relu4(self.conv4(self.relu3(y)))


class OneRelu(Net):
    def features(self, x: Tensor) -> Tensor:
        relu = self.relu1
        x = relu(self.norm1(self.conv1(x)))
        x = relu(self.norm2(self.conv2(x)))
        x = relu(self.norm3(self.conv3(x)) + x)
        return relu(self.conv4(x))


class Wrapped(nn.Module):
    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return {"scores": self.net(x.contiguous(memory_format=torch.channels_last))}


class LogSoftmax(Net):
    def forward(self, x: Tensor) -> Any:
        return F.log_softmax(super().forward(x), 1)


class Overwrites(Net):
    def features(self, x: Tensor) -> Tensor:
        return super().features(x).mul_(1.5)


class Centred(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward((x - 0.4) / 0.5)


class CentredInPlace(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward(x.sub_(0.4).div_(0.5))


class NoGradients(Net):
    @torch.no_grad()
    def forward(self, x: Tensor) -> Any:
        return super().forward(x)


class ByNumPy(Net):
    def forward(self, x: Tensor) -> Any:
        return torch.from_numpy(super().forward(x).detach().numpy())


class Rounds(Net):
    def forward(self, x: Tensor) -> Any:
        return super().forward((x * 255).round() / 255)


class Anew(Net):
    def forward(self, x: Tensor) -> Any:
        return checkpoint(super().forward, x, use_reentrant=False)


class AnewReentrant(Net):
    def forward(self, x: Tensor) -> Any:
        return checkpoint(super().forward, x, use_reentrant=True)


class OwnAutocast(Net):
    def forward(self, x: Tensor) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return super().forward(x)


def written(kind: type[Net], wrap: Any = None) -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = kind()
        for norm in (net.norm1, net.norm2, net.norm3):
            norm.running_mean.normal_(0, 0.2), norm.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(norm.bias, -0.3, 0.3)
    module = net.eval() if wrap is None else wrap(net.eval())
    return Classifier(module, mean=(0, 0, 0), std=(1, 1, 1), input_size=32, name="mine")


def maps(name: str, classifier: Classifier) -> Tensor:
    return explainer(name, classifier, **FEW.get(name, {}))(IMAGES, [1, 2, 3])


@pytest.mark.parametrize("name", READ)
def test_the_same_network_has_the_same_maps(name: str) -> None:
    expected = maps(name, written(Net))
    ways = {
        "in place": written(InPlace),
        "one ReLU": written(OneRelu),
        "wrapped": written(Net, Wrapped),
        "wrapped, in place": written(InPlace, Wrapped),
        "log softmax": written(LogSoftmax),
    }
    for way, classifier in ways.items():
        found = maps(name, classifier)
        # channels-last convolutions round otherwise, which a step of optimisation or sharpening enlarges
        atol = 2e-2 if name in ("augmented_grad_cam", "group_cam", "fido") else 2e-3
        assert torch.allclose(found, expected, atol=atol), (way, float((found - expected).abs().max()))


@pytest.mark.parametrize("name", ["occlusion", "kernel_shap", "lrp", "rise", "score_cam", "gradient"])
def test_a_network_that_overwrites_its_pictures_has_pictures_of_its_own(name: str) -> None:
    """Squares were hidden in what it had left of the picture, and its answers seemed to be random."""
    found = written(CentredInPlace)
    assert found.steadiness == "steady" and found.overwrites and not written(Centred).overwrites
    assert torch.allclose(maps(name, found), maps(name, written(Centred)), atol=1e-3)
    pictures = IMAGES.clone()
    found.network(pictures)
    assert torch.equal(pictures, IMAGES)


@pytest.mark.parametrize("name", ["rise", "occlusion", "kernel_shap", "grad_cam", "lrp", "gradient", "score_cam"])
def test_another_default_type_changes_no_map_or_is_said(name: str) -> None:
    classifier = written(Net)
    expected = maps(name, classifier)
    torch.set_default_dtype(torch.float64)
    try:
        found = maps(name, classifier)
        assert torch.allclose(found, expected, atol=1e-3) and found.dtype == torch.float32
    except InputError as error:
        assert "are float64 in this process" in str(error) and name in ("rise", "occlusion", "kernel_shap")
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", ["lrp", "excitation_backprop", "grad_cam", "guided_backprop", "gradient"])
def test_backward_hooks_of_the_caller_change_no_map_and_stay(name: str) -> None:
    """Views stand between the parts for their sake, and a batch norm no longer met what its convolution gave."""
    hooked = written(Net)
    parts = [part for part in hooked.module.modules() if part is not hooked.module]
    calls: list[int] = []
    for part in parts:
        part.register_full_backward_hook(lambda *_: calls.append(1))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Full backward hook is firing")
        options = {"layer": "relu1"} if name == "excitation_backprop" else {}
        found, expected = (explainer(name, one, **options)(IMAGES, [1, 2, 3]) for one in (hooked, written(Net)))
    assert torch.allclose(found, expected, atol=1e-5)
    calls.clear()
    hooked.module(IMAGES.clone().requires_grad_()).sum().backward()
    assert len(calls) >= len(parts)


def test_an_activation_written_as_a_function_leaves_its_convolution_as_the_layer() -> None:
    """Without a norm there, and without the layer, the block before it would be read, at twice the grid."""

    class Functional(Net):
        def features(self, x: Tensor) -> Tensor:
            x = F.relu(self.norm1(self.conv1(x)))
            x = torch.relu(self.norm2(self.conv2(x)))
            x = (self.norm3(self.conv3(x)) + x).relu()
            return F.relu(self.conv4(x))

    functional, plain = written(Functional), written(Net)
    assert explainer("grad_cam", plain).layer == "relu4"  # type: ignore[attr-defined]
    assert functional.tap_names == ("norm1", "norm3", "conv4")
    assert explainer("grad_cam", functional).layer == "conv4"  # type: ignore[attr-defined]

    class InPlaceBehind(Functional):
        def features(self, x: Tensor) -> Tensor:
            x = F.relu(self.norm3(self.conv3(F.relu(self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x)))))))))
            return F.relu(self.conv4(x), inplace=True)

    assert explainer("grad_cam", written(InPlaceBehind)).layer == "conv4"  # type: ignore[attr-defined]


def test_a_convolution_that_a_module_reads_is_no_layer_of_its_own() -> None:
    net = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 8, 3, 2, 1), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 3),
    )  # fmt: skip
    assert Classifier(net.eval(), input_size=32).tap_names == ("2", "4")


def test_a_convolution_whose_grid_the_blocks_keep_is_no_layer_of_its_own() -> None:
    """A transformer's patches are cut by one, reshaped by a function: the blocks behind it are the layers."""
    vit = VisionTransformer(32, 8, num_layers=4, num_heads=2, hidden_dim=16, mlp_dim=32, num_classes=5)
    assert Classifier(vit.eval(), input_size=32).taps.steps[0] == "encoder.layers.encoder_layer_0"


@pytest.mark.parametrize("kind", [NoGradients, ByNumPy])
@pytest.mark.parametrize("name", GRADIENTS)
def test_without_gradients_it_is_said_and_no_map_is_made_up(name: str, kind: type[Net]) -> None:
    """A mask that nothing leads would follow its own terms alone, and look like a map."""
    with pytest.raises(InputError) as caught:
        maps(name, written(kind))
    assert re.search("mine (has no gradient|uses no ReLU)|finds no way from the answer of mine", str(caught.value))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 320


@pytest.mark.parametrize("kind", [NoGradients, ByNumPy, Overwrites, AnewReentrant])
@pytest.mark.parametrize("name", ["rise", "occlusion", "score_cam", "recipro_cam", "kernel_shap"])
def test_methods_without_gradients_need_none(name: str, kind: type[Net]) -> None:
    plain, factor = written(Net), 1.5 if kind is Overwrites else 1.0
    with torch.no_grad():
        plain.module.head.weight.mul_(factor)  # type: ignore[union-attr, operator]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="None of the inputs have requires_grad")
        found = maps(name, written(kind))
    expected = maps(name, plain)
    assert torch.allclose(found, expected, atol=1e-3) and expected.std() > 0.05


@pytest.mark.parametrize("name", ["gradient", "grad_cam", "smooth_grad", "lrp", "meaningful_perturbation", "fido"])
def test_what_overwrites_its_own_activations_is_told_to_write_it_otherwise(name: str) -> None:
    classifier = written(Overwrites)
    if name == "grad_cam":
        assert maps(name, classifier).std() > 0.05, "what lies behind the layer is not differentiated by it"
        return
    with pytest.raises(InputError, match="mine overwrites in place.*write x = x \\* 2"):
        maps(name, classifier)


@pytest.mark.parametrize("name", ["grad_cam", "excitation_backprop", "guided_backprop", "lrp"])
def test_layers_that_are_computed_anew_are_said(name: str) -> None:
    with pytest.raises(InputError, match="mine computes its layers anew.*set_grad_checkpointing"):
        maps(name, written(Anew))


def test_pixels_alone_may_be_computed_anew() -> None:
    with pytest.raises(InputError, match="mine computes its layers anew"):
        maps("gradient", written(AnewReentrant))
    for name in ("gradient", "integrated_gradients", "smooth_grad", "meaningful_perturbation"):
        assert torch.allclose(maps(name, written(Anew)), maps(name, written(Net)), atol=1e-4)


OPTIMISED = [
    "meaningful_perturbation", "extremal_perturbation", "fido", "dabkowski_gal_iterative", "guided_feature_inversion",
]  # fmt: skip


@pytest.mark.parametrize("name", OPTIMISED)
def test_a_mask_that_nothing_leads_is_doubted(name: str) -> None:
    """The network rounds its pictures: its gradient by them is zero everywhere."""
    explain = explainer(name, written(Rounds), **FEW[name])
    with pytest.warns(UserWarning, match="gradient by the pixels is zero"):
        explain(IMAGES, 1)
    assert explain.doubted["dead_pixels"].all()
    explain = explainer(name, written(Net), **FEW[name])
    explain(IMAGES, 1)
    assert "dead_pixels" not in explain.doubted


def test_a_first_picture_without_a_gradient_says_nothing_of_the_next() -> None:
    class Bright(Net):
        def forward(self, x: Tensor) -> Any:
            return super().forward(F.relu(x - 0.2))

    explain = explainer("meaningful_perturbation", written(Bright), **FEW["meaningful_perturbation"])
    with pytest.warns(UserWarning, match="under every mask|gradient by the pixels"):
        explain(0.1 * IMAGES, 1)
    explain(IMAGES, 1)
    assert not {"dead_pixels", "dead_perturbation"} & set(explain.doubted)


class Casts(OwnAutocast):
    def features(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(x))).bfloat16()
        x = self.relu2(self.norm2(self.conv2(x)))
        x = self.relu3(self.norm3(self.conv3(x)) + x)
        return self.relu4(self.conv4(x))


@pytest.mark.parametrize("kind", [OwnAutocast, Casts])
@pytest.mark.parametrize("name", ["lrp", "excitation_backprop", "contrastive_excitation_backprop"])
def test_relevance_is_in_float32_also_within_an_autocast_of_the_network(name: str, kind: type[Net]) -> None:
    expected = maps(name, written(Net))
    assert torch.allclose(maps(name, written(kind)), expected, atol=4e-2) and expected.std() > 0.05
