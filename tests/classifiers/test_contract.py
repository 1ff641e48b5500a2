"""What may be given to ``Classifier``: the network is left as it was, and what it takes and gives is found out."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_net
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer
from maskwise.training.fresh import layers_after

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Normalised(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return (x - 0.5) / 0.25


class Around(nn.Module):
    """As a Lightning module is: the network is a part, and the forward calls it."""

    def __init__(self, network: nn.Module, give: Any = None) -> None:
        super().__init__()
        self.network, self.give = network, give or (lambda y: y)

    def forward(self, x: Tensor) -> Any:
        return self.give(self.network(x))


def own(module: nn.Module, **options: Any) -> Classifier:
    return Classifier(module, input_size=32, **options)


# ---- the network is left as it was ------------------------------------------------------------------------------


def test_training_goes_on_after_an_explanation() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(tiny_net(), nn.BatchNorm1d(5), nn.Dropout(0.5)).train()
    net[0][0].eval()
    asked = [weight.requires_grad for weight in net.parameters()]
    modes, before = [m.training for m in net.modules()], copy.deepcopy(net.state_dict())
    classifier = own(net)
    first = explainer("grad_cam", classifier)(IMAGES, 1)
    assert torch.equal(first, explainer("grad_cam", classifier)(IMAGES, 1)), "dropout is off while it is asked"
    assert torch.equal(classifier(IMAGES), classifier(IMAGES))
    assert [m.training for m in net.modules()] == modes
    assert [weight.requires_grad for weight in net.parameters()] == asked
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    net(IMAGES).sum().backward()
    assert any(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in net.parameters())


def test_train_mode_of_the_classifier_is_the_networks() -> None:
    classifier = own(nn.Sequential(tiny_net(), nn.Dropout(0.5)))
    classifier.train()
    assert not torch.equal(classifier(IMAGES), classifier(IMAGES))
    classifier.eval()
    assert torch.equal(classifier(IMAGES), classifier(IMAGES))


# ---- wrappers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["grad_cam", "excitation_backprop", "cam"])
@pytest.mark.parametrize(
    "wrapped",
    [
        nn.Sequential,
        nn.DataParallel,
        Around,
        lambda net: nn.Sequential(nn.Sequential(net)),
        lambda net: Around(nn.Sequential(net)),
        lambda net: nn.Sequential(net[:4], net[4:]),
        lambda net: nn.Sequential(net, nn.Softmax(1)),
        lambda net: torch.compile(net, backend="eager"),
    ],
)
def test_maps_of_a_wrapped_network_are_the_bare_ones(wrapped: Any, method: str) -> None:
    net = tiny_net()
    bare, around = own(net), own(wrapped(net))
    assert len(around.tap_names) == len(bare.tap_names)
    assert torch.allclose(around(IMAGES), bare(IMAGES), atol=1e-6)
    expected = explainer(method, bare)(IMAGES, 2)
    assert torch.allclose(explainer(method, around)(IMAGES, 2), expected, atol=1e-5) and expected.amax() > 0.5


@pytest.mark.parametrize("outer", [lambda net: net, Around])
def test_a_normaliser_within_the_network_is_no_layer(outer: Any) -> None:
    net = tiny_net()
    bare = own(net, mean=(0.5,) * 3, std=(0.25,) * 3)
    around = own(outer(nn.Sequential(Normalised(), net)), mean=(0,) * 3, std=(1,) * 3)
    assert len(around.tap_names) == len(bare.tap_names)
    for a, b in zip(around.features(IMAGES)[1], bare.features(IMAGES)[1], strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    for method in ("grad_cam", "layer_cam", "excitation_backprop"):
        assert torch.allclose(explainer(method, around)(IMAGES, 1), explainer(method, bare)(IMAGES, 1), atol=1e-4), (
            method
        )


def test_one_module_that_is_called_again_is_told_apart_by_call() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
            self.relu, self.head = nn.ReLU(), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.relu(self.b(self.relu(self.a(x)))).mean((2, 3)))

    class Apart(nn.Module):
        """The same, with a module for each call."""

        def __init__(self, net: Any) -> None:
            super().__init__()
            self.a, self.first, self.b, self.second, self.head = net.a, nn.ReLU(), net.b, nn.ReLU(), net.head

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.second(self.b(self.first(self.a(x)))).mean((2, 3)))

    torch.manual_seed(0)
    net = Shared().eval()
    classifier = own(net)
    assert classifier.tap_names == ("relu#1", "relu")
    _, (fine, coarse) = classifier.features(IMAGES)
    x = classifier.normalise(IMAGES)
    assert torch.equal(fine, net.a(x).relu()) and torch.equal(coarse, net.b(net.a(x).relu()).relu())
    assert explainer("grad_cam", classifier).layer == "relu"  # type: ignore[attr-defined]
    first, twin = explainer("excitation_backprop", classifier), explainer("excitation_backprop", own(Apart(net)))
    assert first.layer == "relu#1" and twin.layer == "first"  # type: ignore[attr-defined]
    assert torch.allclose(first(IMAGES, 1), twin(IMAGES, 1), atol=1e-6) and first(IMAGES, 1).amax() > 0.5
    assert layers_after(classifier, 0) == ["b", "head"] and layers_after(classifier, -1) == ["head"]


def test_bare_convolutions_count_where_nothing_else_is_there() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1), nn.Linear(6, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.b(self.a(x).relu()).relu().mean((2, 3)))

    assert own(Bare()).tap_names == ("a", "b")


def test_methods_that_read_no_layer_need_none() -> None:
    flat = own(nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5)))
    for method in ("gradient", "rise", "occlusion", "integrated_gradients"):
        assert explainer(method, flat)(IMAGES, 1).shape == (2, 32, 32)
    with pytest.raises(mw.InputError, match="no layer with a spatial grid"):
        explainer("grad_cam", flat)


# ---- outputs ----------------------------------------------------------------------------------------------------


class Logits:
    def __init__(self, logits: Tensor) -> None:
        self.logits, self.hidden = logits, logits[:, :2]


@dataclass(slots=True)
class Slotted:
    scores: Tensor
    steps: int = 3


@dataclass(slots=True)
class SlottedFurther(Slotted):
    aux: Tensor | None = None


@pytest.mark.parametrize(
    ("give", "output"),
    [
        (lambda y: (y,), None),
        (lambda y: [y, y.mean((1,)).reshape(1, 1, -1)], None),
        (lambda y: {"out": y}, None),
        (lambda y: {"logits": y, "aux": y + 1}, None),
        (lambda y: Logits(y), None),
        (Slotted, None),
        (lambda y: SlottedFurther(y, aux=y + 1), "scores"),
        (lambda y: (y + 1, y), 1),
        (lambda y: {"aux": y + 1, "out": y}, "out"),
        (lambda y: y[..., None, None], None),
    ],
)
def test_scores_are_found_in_what_the_network_gives(give: Any, output: Any) -> None:
    net = tiny_net()
    found = own(Around(net, give), output=output)
    assert torch.equal(found(IMAGES), own(net)(IMAGES))
    assert explainer("grad_cam", found)(IMAGES, 1).amax() > 0.5


@pytest.mark.parametrize(
    ("give", "said"),
    [
        (lambda y: (y, y + 1), "`output=0`"),
        (lambda y: {"a": y, "b": y}, "`output=a`"),
        (lambda y: SlottedFurther(y, aux=y + 1), "several tensors .*'aux'.*'scores'"),
        (lambda y: y[..., None, None].expand(-1, -1, 4, 4), "at each place"),
        (lambda y: y[:, None].expand(-1, 3, -1), "tokens"),
        (lambda y: y.mean(0), "one row a picture"),
        (lambda y: "dog", "no tensor"),
    ],
)
def test_what_are_no_scores_is_refused(give: Any, said: str) -> None:
    with pytest.raises(mw.InputError, match=said):
        own(Around(tiny_net(), give))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mean": (123.7, 116.3, 103.5), "std": (58.4, 57.1, 57.4)}, r"\[0,255\]"),
        ({"std": (1.0, 0.0, 1.0)}, "`std` above 0"),
        ({"mean": (0.5,)}, "one value a channel"),
        ({"mean": (0.5,), "std": (0.5,)}, "failed.*input_size"),
        ({"labels": ["a", "b"]}, "5 classes but 2"),
        ({"activation": "relu"}, "activation"),
        ({"taps": ["nowhere"]}, "no layer 'nowhere'"),
    ],
)
def test_one_line_says_what_is_wrong(options: dict[str, Any], said: str) -> None:
    with pytest.raises(mw.InputError, match=said) as refused:
        own(tiny_net(), **options)
    assert "\n" not in str(refused.value)


def test_what_is_no_network() -> None:
    for thing in (tiny_net, "resnet50", None):
        with pytest.raises(mw.InputError, match="torch.nn.Module"):
            Classifier(thing)  # type: ignore[arg-type]


# ---- the link ---------------------------------------------------------------------------------------------------


def one_logit() -> nn.Sequential:
    net = tiny_net()
    torch.manual_seed(1)
    return nn.Sequential(*net[:-1], nn.Linear(net[-1].in_features, 1))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "ending", [lambda n: n, lambda n: Around(n, lambda y: y[:, 0]), lambda n: nn.Sequential(n, nn.Sigmoid())]
)
def test_one_logit_is_two_classes(ending: Any) -> None:
    net = one_logit()
    classifier = own(ending(net), labels=["healthy", "ill"])
    assert classifier.activation == "sigmoid" and len(classifier.labels) == 2
    z = net(classifier.normalise(IMAGES))[:, 0]
    p = classifier.probabilities(classifier(IMAGES))
    assert torch.allclose(p, torch.stack([1 - z.sigmoid(), z.sigmoid()], 1), atol=1e-6)
    ill, healthy = (explainer("gradient", classifier)(IMAGES, name) for name in ("ill", "healthy"))
    assert ill.amax() > 0.5 and torch.allclose(ill, healthy), "the saliency of -z is that of z"
    cams = [explainer("grad_cam", classifier)(IMAGES, k) for k in (0, 1)]
    assert not torch.allclose(*cams)
    insertion = mw.metric("insertion", classifier)
    insertion.update(ill, images=IMAGES, targets=torch.tensor([1, 1]))
    assert 0 < float(insertion.compute()) < 100


def test_each_link_is_obeyed_by_every_probability() -> None:
    net = tiny_net()
    soft, free = own(net), own(net, activation="sigmoid")
    logits = net(soft.normalise(IMAGES))
    assert soft.activation == "softmax"
    assert torch.allclose(soft.probabilities(logits), logits.softmax(1))
    assert torch.allclose(free.probabilities(logits), logits.sigmoid())
    assert torch.allclose(free.log_probabilities(logits).exp(), logits.sigmoid(), atol=1e-6)
    for name, of in (("rise", "softmax"), ("occlusion", "softmax"), ("score_cam", "softmax")):
        a, b = explainer(name, soft)(IMAGES, 1), explainer(name, free)(IMAGES, 1)
        assert not torch.allclose(a, b), f"{name} reads {of} only"
    assert soft.fingerprint() != free.fingerprint()


def test_probabilities_that_the_network_gives_itself_are_taken_as_they_are() -> None:
    net = tiny_net()
    inside = own(Around(net, lambda y: y.exp() / y.exp().sum(1, keepdim=True)))
    assert inside.activation == "none"
    bare = own(net)
    assert torch.allclose(inside.probabilities(inside(IMAGES)), bare.probabilities(bare(IMAGES)), atol=1e-6)
    a, b = (mw.metric("deletion", c) for c in (inside, bare))
    for one in (a, b):
        one.update(IMAGES.mean(1), images=IMAGES, targets=torch.tensor([1, 2]))
    assert float(a.compute()) == pytest.approx(float(b.compute()), rel=1e-4)


# ---- inputs -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_and_sizes(channels: int) -> None:
    net = tiny_net()
    net[0] = nn.Conv2d(channels, net[0].out_channels, 3, 2, 1)
    classifier = Classifier(net, mean=(0.5,) * channels, std=(0.2,) * channels, input_size=(40, 24))
    images = torch.rand(2, channels, 50, 30)
    for method in ("grad_cam", "gradient", "rise", "integrated_gradients", "occlusion"):
        assert explainer(method, classifier)(images, 1).shape == (2, 50, 30), method
    assert classifier.prepare(images).shape == (2, channels, 40, 24)
    with pytest.raises(mw.InputError, match=rf"\(N,{channels},H,W\)"):
        explainer("gradient", classifier)(torch.rand(1, 5, 50, 30))


def test_rgb_reaches_a_grey_network_by_its_luma_and_grey_as_it_is() -> None:
    net = tiny_net()
    net[0] = nn.Conv2d(1, net[0].out_channels, 3, 2, 1)
    classifier = Classifier(net, mean=(0.5,), std=(0.2,), input_size=32)
    grey = torch.rand(2, 1, 32, 32)
    assert torch.equal(classifier.prepare(grey.expand(-1, 3, -1, -1)), grey)
    luma = (IMAGES * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
    assert torch.allclose(classifier.prepare(IMAGES), luma, atol=1e-6)
    mixed = torch.cat([grey.expand(-1, 3, -1, -1), IMAGES[:1]])
    alone = torch.cat([classifier.prepare(image[None]) for image in mixed])
    assert torch.equal(classifier.prepare(mixed), alone), "whatever is beside it"
    assert torch.equal(alone[:2], grey)
    yellow = torch.tensor([1.0, 1.0, 0.0])[None, :, None, None].expand(-1, -1, 32, 32)
    assert torch.allclose(classifier.prepare(yellow), torch.tensor(0.886))


@pytest.mark.parametrize("kind", [torch.float64, torch.bfloat16, torch.float16])
def test_pictures_are_cast_to_the_networks_type(kind: torch.dtype) -> None:
    net = tiny_net()
    expected = explainer("grad_cam", own(net))(IMAGES, 1)
    classifier = own(copy.deepcopy(net).to(kind))
    found = explainer("grad_cam", classifier)(IMAGES, 1)
    assert classifier(IMAGES).dtype == (kind if kind == torch.float64 else torch.float32)
    assert torch.corrcoef(torch.stack([found.flatten(), expected.flatten()]))[0, 1] > 0.98


@pytest.mark.parametrize("make", ["script", "trace", "export"])
def test_programs_work_for_methods_that_read_no_layer(make: str) -> None:
    net = tiny_net()
    example = (torch.rand(2, 3, 32, 32),)
    if make == "export":
        program: Any = torch.export.export(net, example, dynamic_shapes=({0: torch.export.Dim("batch")},))
    else:
        program = torch.jit.script(net) if make == "script" else torch.jit.trace(net, example)
    classifier, bare = own(program), own(net)
    for method in ("gradient", "occlusion", "rise"):
        expected = explainer(method, bare)(IMAGES, 1)
        assert torch.allclose(explainer(method, classifier)(IMAGES, 1), expected, atol=1e-4), method
    if make != "trace":
        with pytest.raises(mw.InputError, match="shows no layers"):
            explainer("grad_cam", classifier)


def test_a_quantised_network() -> None:
    net = nn.Sequential(tiny_net(), nn.Linear(5, 4))
    quick = torch.ao.quantization.quantize_dynamic(net, {nn.Linear})
    classifier = own(quick)
    assert explainer("occlusion", classifier)(IMAGES, 1).shape == (2, 32, 32)
    assert classifier.fingerprint() == own(copy.deepcopy(quick)).fingerprint()


# ---- targets ----------------------------------------------------------------------------------------------------


def test_targets_of_all_sorts(tiny: Classifier) -> None:
    explain = explainer("gradient", tiny)
    expected = explain(IMAGES, [1, 2])
    for same in (np.array([1, 2]), torch.tensor([1, 2]), [np.int64(1), np.int32(2)], (1, 2), ["1", "2"]):
        assert torch.equal(explain(IMAGES, same), expected)  # type: ignore[arg-type]
    for one in (1, np.int64(1), np.array(1), torch.tensor(1)):
        assert torch.equal(explain(IMAGES, one), explain(IMAGES, 1))  # type: ignore[arg-type]
    assert explain(IMAGES, np.array([[1, 2], [3, 0]])).shape == (2, 2, 32, 32)
    each = explain(IMAGES, [lambda y: y[:, 1], lambda y: y[:, 2]])
    assert torch.allclose(each, expected)
    for wrong in (True, 1.5, [1.5, 2.0], torch.tensor([0.5, 1.5])):
        with pytest.raises(mw.InputError, match="index or name"):
            explain(IMAGES, wrong)  # type: ignore[arg-type]
    with pytest.raises(mw.InputError, match="0…4"):
        explain(IMAGES, 99)


def test_names_are_forgiving() -> None:
    from maskwise.labels import imagenet_labels

    labels = imagenet_labels()
    assert labels.resolve("Tabby_Cat") == labels.resolve("tabby  cat") == labels.resolve("N02123045") == 281


def test_it_says_what_it_is() -> None:
    classifier = own(tiny_net(), labels=list("abcde"), name="mine")
    shown = repr(classifier)
    for said in ("mine", "5 classes", "a, b, c, …", "3x32x32", "softmax", "not looked for yet"):
        assert said in shown
    assert classifier.tap_names and "not looked" not in repr(classifier)
