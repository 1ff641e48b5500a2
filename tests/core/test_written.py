"""Weights that change by whatever way are seen to, and those that don't are not."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from conftest import tiny_net
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.written import Written
from maskwise.explainers.doubts import KnownWeights, pixel_gradient


def step(net: nn.Module, optimiser: type[torch.optim.Optimizer], **options: bool) -> None:
    net(torch.rand(2, 3, 32, 32))[:, 0].sum().backward()
    optimiser(net.parameters(), lr=0.1, **options).step()  # type: ignore[call-arg]


def by_data(net: nn.Module, other: nn.Module) -> None:
    for own, new in zip(net.parameters(), other.parameters(), strict=True):
        own.data = new.data.clone()


def into_data(net: nn.Module, other: nn.Module) -> None:
    for own, new in zip(net.parameters(), other.parameters(), strict=True):
        own.data.copy_(new.data)


WAYS: dict[str, Callable[[nn.Sequential, nn.Sequential], object]] = {
    "load_state_dict": lambda net, other: net.load_state_dict(other.state_dict()),
    "assigned": lambda net, other: net.load_state_dict(other.state_dict(), assign=True),
    "data put in place": by_data,
    "written through data": into_data,
    "a layer replaced": lambda net, other: net.__setitem__(-1, other[-1]),
    "half precision": lambda net, _: net.bfloat16(),
    "a step": lambda net, _: step(net, torch.optim.SGD),
    "a fused step": lambda net, _: step(net, torch.optim.SGD, fused=True),
    "a fused step of the head": lambda net, _: step(
        net[:-1].requires_grad_(False) and net, torch.optim.SGD, fused=True
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_change_is_seen(way: str) -> None:
    net = tiny_net()
    assert isinstance(net, nn.Sequential)
    classifier = Classifier(net, input_size=32)
    before, written, known = classifier.fingerprint(), Written(net), KnownWeights(classifier)
    assert not written.since() and not known.have_changed()
    WAYS[way](net, tiny_net(7))  # type: ignore[arg-type]
    assert classifier.fingerprint() != before
    assert written.since() and known.have_changed()


@pytest.mark.parametrize(
    "make", [tiny_net, lambda: nn.Flatten(), lambda: torch.jit.trace(tiny_net(), torch.rand(1, 3, 32, 32))]
)
def test_nothing_is_seen_where_nothing_changes(make: Callable[[], nn.Module]) -> None:
    net = make()
    written = Written(net)
    with torch.no_grad():
        net(torch.rand(1, 3, 32, 32))
    net.requires_grad_(False)
    copy.deepcopy(net)
    assert not written.since()


def test_not_a_number_is_no_change() -> None:
    net = tiny_net()
    with torch.no_grad():
        next(net.parameters()).fill_(torch.nan)
    assert not Written(net).since()


def test_the_same_values_written_again_are_the_same_weights() -> None:
    net = tiny_net()
    known = KnownWeights(Classifier(net, input_size=32))
    net.load_state_dict(copy.deepcopy(net.state_dict()))
    assert not known.have_changed()


@pytest.mark.parametrize("way", ["load_state_dict", "assigned", "data put in place", "written through data"])
def test_classes_that_are_told_apart_now_are_not_doubted_for_before(way: str) -> None:
    net = tiny_net()
    assert isinstance(net, nn.Sequential)
    with torch.no_grad():
        net[-1].weight.copy_(net[-1].weight[:1].expand(5, -1))  # type: ignore[union-attr,operator,index]
    classifier, image = Classifier(net, input_size=32), torch.rand(1, 3, 32, 32)
    assert pixel_gradient(classifier, image) == "alike"
    WAYS[way](net, tiny_net(7))  # type: ignore[arg-type]
    assert pixel_gradient(classifier, image) == "apart"
