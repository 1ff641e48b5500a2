"""A network may end in softmax or sigmoid as a layer or as a function: its logits, and all maps, are the bare ones."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from conftest import tiny_net, tiny_vit
from torch import Tensor, nn

import maskwise as mw
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer

PLAIN: dict[str, Any] = {"mean": (0, 0, 0), "std": (1, 1, 1), "input_size": 32}
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(6))


class Ends(nn.Module):
    """A network, and what somebody does with its scores."""

    def __init__(self, net: nn.Module, ending: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.net, self.ending = net, ending

    def forward(self, x: Tensor) -> Any:
        return self.ending(self.net(x))


SOFTMAX: list[Callable[[Tensor], Any]] = [
    lambda y: torch.softmax(y, 1),
    lambda y: F.softmax(input=y, dim=-1),
    lambda y: y.softmax(dim=1),
    lambda y: torch.special.softmax(y, 1),
    lambda y: {"probabilities": y.softmax(1)},
    lambda y: (y.softmax(1), "names"),
]
SIGMOID: list[Callable[[Tensor], Any]] = [
    torch.sigmoid,
    lambda y: F.sigmoid(y),
    lambda y: y.sigmoid(),
    lambda y: torch.special.expit(y),
    lambda y: {"findings": y.sigmoid()},
    lambda y: y.sigmoid()[:, :, None, None],
]


def strong(net: nn.Module) -> nn.Module:
    """With sharper scores, so that each activation of them is another one."""
    with torch.no_grad():
        net[-1].weight.mul_(20)  # type: ignore[index, union-attr, operator]
    return net


@pytest.mark.parametrize(("kind", "ending"), [("softmax", e) for e in SOFTMAX] + [("sigmoid", e) for e in SIGMOID])
def test_logits_are_read_before_the_function(kind: Any, ending: Callable[[Tensor], Any]) -> None:
    net = strong(tiny_net())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ended = Classifier(Ends(net, ending), **PLAIN)
    bare = Classifier(net, activation=kind, **PLAIN)
    assert ended.activation == kind and torch.equal(ended(IMAGES), bare(IMAGES))
    with torch.inference_mode():
        assert torch.equal(ended(IMAGES), bare(IMAGES))
    given = ended.read(ended.module(IMAGES)).flatten(1)
    assert torch.allclose(ended.probabilities(ended(IMAGES)), given, atol=1e-6)
    weights = {name: 2 * weight for name, weight in ended.module.state_dict().items()}
    twice = copy.deepcopy(ended)
    twice.module.load_state_dict(weights)
    assert torch.equal(ended.logits(IMAGES, weights), twice(IMAGES))


@pytest.mark.parametrize(
    ("kind", "ending"),
    [
        ("softmax", lambda y: F.log_softmax(y, 1)),
        ("softmax", lambda y: y.log_softmax(-1)),
        ("softmax", nn.LogSoftmax(1)),
        ("sigmoid", F.logsigmoid),
        ("sigmoid", nn.LogSigmoid()),
        ("softmax", nn.Softmax(1)),
        ("sigmoid", nn.Sequential(nn.Identity(), nn.Sigmoid())),
    ],
)
def test_layers_and_logarithms_are_endings_too(kind: Any, ending: Callable[[Tensor], Any]) -> None:
    net = strong(tiny_net())
    for give in (ending, lambda y: {"scores": ending(y)}):
        wrapped = Ends(net, give)
        wrapped.part = ending if isinstance(ending, nn.Module) else nn.Identity()  # so that its hooks can be found
        ended = Classifier(wrapped.eval(), **PLAIN)
        assert ended.activation == kind and torch.equal(ended(IMAGES), net(IMAGES))


@pytest.mark.parametrize("ending", [torch.sigmoid, nn.Sigmoid()])
def test_a_network_that_ends_otherwise_in_train_mode(ending: Any) -> None:
    """Scores for the loss there, probabilities in eval mode; attention's softmax is no ending either."""

    class Either(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.ending = tiny_vit(), ending

        def forward(self, x: Tensor) -> Tensor:
            weights = self.ending(3 * self.net(x))
            y: Tensor = self.net(x) + 0 * weights
            return y if self.training else self.ending(y)

    net = Either().eval()
    classifier = Classifier(net, **PLAIN)
    expected = classifier(IMAGES)
    assert classifier.activation == "sigmoid" and torch.equal(expected, net.net(IMAGES))
    classifier.train()
    assert torch.allclose(classifier(IMAGES), expected, atol=1e-6)


@pytest.mark.parametrize("method", ["gradient", "grad_cam", "layer_cam", "cam", "excitation_backprop", "lrp", "rise"])
@pytest.mark.parametrize(("kind", "ending"), [("softmax", SOFTMAX[0]), ("sigmoid", SIGMOID[0])])
def test_maps_are_those_of_the_bare_network(method: str, kind: Any, ending: Callable[[Tensor], Any]) -> None:
    """Of a saturated probability there is hardly a gradient."""
    net = strong(tiny_net())
    ended, bare = Classifier(Ends(net, ending), **PLAIN), Classifier(net, activation=kind, **PLAIN)
    expected = explainer(method, bare)(IMAGES, 2)
    assert torch.allclose(explainer(method, ended)(IMAGES, 2), expected, atol=1e-4) and expected.amax() > 0.5


def test_softmax_within_the_network_is_no_ending() -> None:
    """Attention's, a gate's; or of scores that somebody changes afterwards."""
    vit = tiny_vit()
    assert torch.equal(Classifier(vit, **PLAIN)(IMAGES), vit(IMAGES))
    net = strong(tiny_net())
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda y: y.softmax(1).log(), lambda y: y * y.sigmoid(), lambda y: y.softmax(0) - 0.5,
        lambda y: y.sigmoid().mul_(3), lambda y: (9 * y).softmax(0).mul_(2), lambda y: (9 * y).sigmoid().mul_(2)[:, :3],
    ]  # fmt: skip
    for ending in changes:
        changed = Classifier(Ends(net, ending), **PLAIN)
        assert changed.activation == "softmax" and torch.equal(changed(IMAGES), ending(net(IMAGES)))


def test_one_probability_is_two_classes() -> None:
    net = strong(tiny_net(classes=1))
    for ending in (torch.sigmoid, lambda y: y.sigmoid().squeeze(1), lambda y: y.sigmoid()[:, 0]):
        ended = Classifier(Ends(net, ending), **PLAIN)
        assert ended.is_paired and ended.activation == "sigmoid"
        expected = net(IMAGES)
        assert torch.allclose(ended(IMAGES), torch.cat([-expected, expected], 1))
        with torch.inference_mode():
            assert torch.allclose(ended(IMAGES), torch.cat([-expected, expected], 1))


def test_probabilities_as_they_are_where_they_are_asked_for() -> None:
    net = strong(tiny_net())
    taken = Classifier(Ends(net, torch.sigmoid), activation="none", **PLAIN)
    assert taken.activation == "none" and torch.equal(taken(IMAGES), net(IMAGES).sigmoid())
    own = Classifier(Ends(net, lambda y: y.exp() / y.exp().sum(1, keepdim=True)), **PLAIN)
    assert own.activation == "none", "a softmax that nobody sees, by its rows that add up to one"
    assert torch.allclose(own.probabilities(own(IMAGES)), net(IMAGES).softmax(1), atol=1e-6)


def test_numbers_that_may_be_probabilities_are_asked_about() -> None:
    net = strong(tiny_net())
    hidden = Ends(net, lambda y: 1 / (1 + (-y).exp()))
    with pytest.warns(
        UserWarning, match=r"mine gives numbers from 0 to 1 that don't add up to one.*activation=none"
    ) as told:
        Classifier(hidden, name="mine", **PLAIN)
    assert told[0].filename == __file__, "where the classifier was made"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for said in ("none", "softmax"):
            Classifier(hidden, activation=said, **PLAIN)  # type: ignore[arg-type]
        Classifier(net, **PLAIN)
        Classifier(Ends(net, lambda y: 0 * y), **PLAIN)


@pytest.mark.parametrize("outputs", [1, 4])
@pytest.mark.parametrize("how", ["exported", "traced", "function"])
def test_probabilities_that_are_taken_for_logits_are_told(outputs: int, how: str) -> None:
    """A sigmoid within an exported network is seen no more: with one more every finding would be likelier than not."""
    net = Ends(strong(tiny_net(classes=outputs)), torch.sigmoid)
    bare = strong(tiny_net(classes=outputs))

    def made(module: nn.Module) -> Any:
        if how == "exported":
            batch = torch.export.Dim("batch")
            return torch.export.export(module, (IMAGES,), dynamic_shapes=[{0: batch}]).module()
        return torch.jit.trace(module, IMAGES) if how == "traced" else lambda images: module(images)  # type: ignore

    with pytest.warns(UserWarning, match="mine gives numbers from 0 to 1.*`activation=sigmoid`.*`activation=none`"):
        twice = Classifier(made(net), activation="sigmoid", name="mine", **PLAIN)
    assert (twice.probabilities(twice(IMAGES))[:, -1] >= 0.5).all(), "which is why it is told"
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*numbers from 0 to 1")
        once = Classifier(made(net), activation="none", **PLAIN)
        Classifier(made(bare), activation="sigmoid", **PLAIN)
    assert torch.allclose(once.probabilities(once(IMAGES))[:, -1], net(IMAGES)[:, -1], atol=1e-6)


def test_one_exported_probability_is_told_where_nothing_was_said() -> None:
    net = Ends(strong(tiny_net(classes=1)), torch.sigmoid)
    with pytest.warns(UserWarning, match="mine gives numbers from 0 to 1"):
        Classifier(torch.jit.trace(net, IMAGES), name="mine", **PLAIN)


def test_logits_that_happen_to_lie_between_0_and_1_are_not_doubted() -> None:
    """Pictures of much more contrast take them out of that range, as no probability does."""
    net = tiny_net(classes=4)
    with torch.no_grad():
        net[-1].weight.abs_().mul_(1 / net[-1].weight.max())
        net[-1].bias.fill_(0.5)
    small = torch.jit.trace(net, IMAGES)
    assert ((small(IMAGES) > 0) & (small(IMAGES) < 1)).all()
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*numbers from 0 to 1")
        Classifier(small, activation="sigmoid", **PLAIN)


def test_a_masker_of_such_a_network_is_exported(tmp_path: Path) -> None:
    """The mode that sees the function is open while the graph is drawn; the graph has no probabilities in it."""
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    from maskwise.exporting import export
    from maskwise.maskers import Masker

    classifier = Classifier(Ends(strong(tiny_net()), torch.sigmoid), **PLAIN)
    masker = Masker.build(classifier).eval()
    export(masker, tmp_path / "m.onnx")
    session = runtime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    with torch.no_grad():
        logits, masks = masker(IMAGES[:1])
    found = session.run(None, {session.get_inputs()[0].name: IMAGES[:1].numpy()})
    by_size = {array.size: torch.from_numpy(array) for array in found}
    assert torch.allclose(by_size[5].reshape(1, 5), logits, atol=1e-4)
    assert torch.allclose(by_size[32 * 32].reshape(1, 32, 32), masks, atol=1e-4)


def test_insertion_and_objectives_take_the_probabilities() -> None:
    net = strong(tiny_net())
    curves = []
    for classifier in (Classifier(Ends(net, torch.sigmoid), **PLAIN), Classifier(net, activation="sigmoid", **PLAIN)):
        metric = mw.metric("insertion", classifier)
        metric.update(IMAGES.mean(1), images=IMAGES, targets=torch.tensor([1, 2]))
        curves.append(float(metric.compute()))
    assert curves[0] == pytest.approx(curves[1], rel=1e-5) and curves[0] > 1
