"""A finding as a classifier of two classes says and shows what the network itself says and shows of it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import last_layer
from maskwise.classifiers.one_finding import OneFinding
from maskwise.core.errors import InputError
from maskwise.explainers import explainer

NAMES = ("mass", "edema", "nodule", "hernia")
SIDE = 32


class Net(nn.Module):
    """Two convolutions, average, linear; and what may follow."""

    def __init__(self, outputs: int = 4, conv: bool = False, end: nn.Module | None = None) -> None:
        super().__init__()
        self.one, self.act = nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU()
        self.two, self.seen = nn.Conv2d(8, 16, 3, 2, 1), nn.ReLU()
        self.head = nn.Conv2d(16, outputs, 1) if conv else nn.Linear(16, outputs)
        self.conv, self.end = conv, nn.Identity() if end is None else end

    def forward(self, images: Tensor) -> Tensor:
        seen = self.seen(self.two(self.act(self.one(images))))
        logits = self.head(seen).mean((2, 3)) if self.conv else self.head(seen.mean((2, 3)))
        return self.end(logits)  # type: ignore[no-any-return]


class Turned(nn.Module):
    """The outputs in another order, so that no row of the last layer is the finding of its place."""

    def forward(self, logits: Tensor) -> Tensor:
        return logits.flip(1) + 0.25


def network(activation: Any = "sigmoid", names: tuple[str, ...] = NAMES, **options: Any) -> Classifier:
    torch.manual_seed(3)
    module = Net(**options)
    with torch.no_grad():
        module.head.weight.mul_(100)
        module.head.bias.zero_()
    return Classifier(module, mean=(0, 0, 0), std=(1, 1, 1), input_size=SIDE, labels=names, activation=activation)


def images(count: int = 3) -> Tensor:
    """Colours of 16 places each, so that it matters much what is hidden."""
    draws = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    return nn.functional.interpolate(draws, (SIDE, SIDE))


def made(name: str, classifier: Classifier) -> Any:
    """Averages of many probabilities are not stretched to [0,1], which would stretch their rounding, too."""
    found = explainer(name, classifier)
    if name == "rise":
        found.normalise = False
    return found


@pytest.mark.parametrize("name", ["grad_cam", "gradient", "banzhaf", "rise", "excitation_backprop", "cam"])
@pytest.mark.parametrize("kind", [{}, {"conv": True}, {"end": nn.Sigmoid()}])
def test_its_maps_are_those_of_the_finding_in_the_network(name: str, kind: dict[str, Any]) -> None:
    classifier = network(**kind)
    of_finding = OneFinding(classifier, "nodule")
    assert of_finding.tap_names == classifier.tap_names
    theirs = made(name, classifier)(images(), torch.full((3,), 2))
    ours = made(name, of_finding)(images(), torch.ones(3, dtype=torch.int64))
    assert theirs.amax() - theirs.amin() > 0.01 and torch.allclose(ours, theirs, atol=1e-6)
    others = made(name, classifier)(images(), torch.full((3,), 1))
    assert not torch.allclose(ours, others, atol=1e-3), "the finding counts"


@pytest.mark.parametrize("name", ["grad_cam", "gradient", "rise", "banzhaf"])
def test_of_a_network_that_ends_otherwise_too(name: str) -> None:
    classifier = network(end=Turned())
    of_finding = OneFinding(classifier, "nodule")
    assert type(of_finding.module) is not Net and last_layer(of_finding) is None
    theirs = made(name, classifier)(images(), torch.full((3,), 2))
    ours = made(name, of_finding)(images(), torch.ones(3, dtype=torch.int64))
    assert torch.allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"conv": True}, {"end": nn.Sigmoid()}, {"end": Turned()}])
def test_its_logits_are_zero_and_the_finding_s(options: dict[str, Any]) -> None:
    classifier = network(**options)
    before = copy.deepcopy(classifier.module.state_dict())
    with torch.no_grad():
        wanted = classifier.logits(images())[:, 3]
        found = OneFinding(classifier, 3)
        logits = found.logits(images())
    assert found.labels.names == ("no hernia", "hernia") and found.activation == "softmax"
    assert torch.allclose(logits[:, 1], wanted, atol=1e-5) and (logits[:, 0] == 0).all()
    assert torch.allclose(found.probabilities(logits)[:, 1], wanted.sigmoid(), atol=1e-5)
    assert all(torch.equal(value, classifier.module.state_dict()[key]) for key, value in before.items())
    assert torch.allclose(copy.deepcopy(found).logits(images()), logits)


@pytest.mark.parametrize("options", [{}, {"end": Turned()}])
def test_each_finding_is_somebody_else(options: dict[str, Any]) -> None:
    classifier = network(**options)
    with torch.no_grad():
        classifier.module.head.weight[1] = classifier.module.head.weight[0]  # type: ignore[union-attr,index,operator]
        classifier.module.head.bias[1] = classifier.module.head.bias[0]  # type: ignore[union-attr,index,operator]
    found = [OneFinding(classifier, i) for i in range(4)]
    for identity in ("fingerprint", "digest"):
        known = {getattr(one, identity)() for one in (classifier, *found)}
        assert len(known) == 5, "also of two findings with the same row"
        assert getattr(OneFinding(classifier, 2), identity)() == getattr(found[2], identity)()


def test_a_network_with_one_output_is_asked_about_that() -> None:
    classifier = network(None, names=("healthy", "sick"), outputs=1)
    found = OneFinding(classifier)
    assert found.labels.names == ("healthy", "sick") and found.is_only
    with torch.no_grad():
        assert torch.allclose(found.logits(images())[:, 1], classifier.logits(images())[:, 1], atol=1e-6)
    ours, theirs = (explainer("grad_cam", one)(images(), 1) for one in (found, classifier))
    assert torch.allclose(ours, theirs, atol=1e-6)
    assert OneFinding(classifier, "sick").digest() == found.digest()
    with pytest.raises(InputError, match="one finding, 'sick'"):
        OneFinding(classifier, "healthy")


@pytest.mark.parametrize("scores", [False, True])
def test_a_black_box_stays_one(scores: bool) -> None:
    inner = network()

    def ask(pictures: Tensor) -> np.ndarray:
        with torch.no_grad():
            logits = inner.logits(pictures)
        found: np.ndarray = (logits if scores else logits.sigmoid()).numpy()
        return found

    ask.fingerprint = lambda: "box"  # type: ignore[attr-defined]
    box = Classifier(ask, input_size=SIDE, labels=NAMES, activation="sigmoid" if scores else "none")
    found = OneFinding(box, "edema")
    assert found.is_black_box and found.digest() != OneFinding(box, "mass").digest() != box.digest()
    with torch.no_grad():
        wanted = inner.logits(images())[:, 1].sigmoid()
        said = found.probabilities(found.logits(images()))
    assert torch.allclose(said[:, 1], wanted, atol=1e-5) and torch.allclose(said.sum(1), torch.ones(3))
    assert torch.allclose(copy.deepcopy(found).logits(images()), found.logits(images()))


def test_what_is_no_finding_is_refused() -> None:
    with pytest.raises(InputError, match="its findings are mass, edema, nodule, hernia"):
        OneFinding(network(), "flu")
    with pytest.raises(InputError, match="several findings, so name one: mass, edema"):
        OneFinding(network())
    with pytest.raises(InputError, match="softmax"):
        OneFinding(network("softmax"), "mass")
