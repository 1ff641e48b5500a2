"""Several threads ask one classifier at once, and each gets what it would get alone."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event, get_ident
from typing import Any

import pytest
import torch
from classifiers.test_learned_queries import Pooler, network
from conftest import Block, tiny_net, tiny_vit
from explainers.test_methods import FAST
from torch import Tensor, nn

from maskwise.audit.shortcut import _read
from maskwise.classifiers import Classifier
from maskwise.explainers import explainer, methods
from maskwise.explainers.base import Explainer
from maskwise.planning.counting import counted

IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Meanwhile(nn.Module):
    """Before a layer: in each forward of the thread that made it, another thread does something in the meantime."""

    def __init__(self) -> None:
        super().__init__()
        self.mine, self.call = get_ident(), lambda: None  # type: Callable[[], Any]
        self.found: list[Any] = []

    def forward(self, x: Tensor) -> Tensor:
        if get_ident() == self.mine:
            with ThreadPoolExecutor(1) as pool:
                self.found.append(pool.submit(self.call).result())
        return x


def watched(net: nn.Module) -> tuple[Meanwhile, Classifier]:
    meanwhile = Meanwhile()
    return meanwhile, Classifier(nn.Sequential(meanwhile, *net.children()).eval(), input_size=32)


@pytest.mark.parametrize("name", [name for name, facts in methods.items() if facts["family"] != "maskers"])
def test_who_asks_meanwhile_changes_no_map_and_is_told_the_truth(name: str) -> None:
    meanwhile, classifier = watched(tiny_vit() if methods.facts(name)["family"] == "attention" else tiny_net())
    explain = explainer(name, classifier, **FAST.get(name, {}))
    alone, answer = explain(IMAGES[:1], 1), classifier(IMAGES)
    meanwhile.found, meanwhile.call = [], lambda: classifier(IMAGES)
    maps = explainer(name, classifier, **FAST.get(name, {}))(IMAGES[:1], 1)
    torch.testing.assert_close(maps, alone, atol=1e-5, rtol=0)
    for found in meanwhile.found:
        torch.testing.assert_close(found, answer, atol=1e-5, rtol=0)


@pytest.mark.parametrize("build", [tiny_net, tiny_vit, lambda: network(Pooler(64), Block()).module])
def test_layers_are_found_while_another_thread_asks(build: Callable[[], nn.Module]) -> None:
    meanwhile, classifier = watched(build())
    expected = classifier.taps
    again = classifier.described()
    meanwhile.call = lambda: classifier(IMAGES)
    assert again.taps == expected


class Waits(nn.Module):
    """Keeps every thread but the one that made it until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.mine, self.came, self.go = get_ident(), Event(), Event()

    def forward(self, x: Tensor) -> Tensor:
        if get_ident() != self.mine:
            self.came.set()
            self.go.wait(10)
        return x


def test_a_network_in_train_mode_answers_as_in_eval_mode_whoever_is_done_first() -> None:
    meanwhile, waits = Meanwhile(), Waits()
    net = nn.Sequential(meanwhile, waits, *tiny_net().children())
    classifier = Classifier(net, input_size=32)
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    waits.go.set()
    expected = classifier(IMAGES)
    waits.go.clear()
    with ThreadPoolExecutor(1) as pool:
        late: list[Future[Tensor]] = []

        def begins() -> None:
            late.append(pool.submit(classifier, IMAGES))
            assert waits.came.wait(10)

        meanwhile.call = begins
        torch.testing.assert_close(classifier(IMAGES), expected)
        waits.go.set()
        torch.testing.assert_close(late[0].result(), expected)
    assert all(part.training for part in net.modules())
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


class Brightness(Explainer):
    """A map of the pixels alone, and scores of masks that never differ where the picture is black."""

    needs_target = False

    def map(self, images: Tensor, targets: Any) -> Tensor:
        for step in range(4):
            self.scored(step * images.mean((1, 2, 3))[:, None, None])
            time.sleep(1e-3)
        return images.mean(1) + torch.linspace(0, 1, images.shape[-1])


@pytest.mark.filterwarnings("ignore")
def test_what_an_explainer_notes_of_one_call_is_no_other_call_s() -> None:
    """That all masks of a black picture score the same makes no other picture's map zeros."""
    explain, black = Brightness(Classifier(tiny_net(), input_size=32)), torch.zeros(1, 3, 32, 32)
    alone = [explain(images) for images in (IMAGES[:1], black)]
    assert not alone[1].any() and alone[0].any()
    with ThreadPoolExecutor(2) as pool:
        for found in pool.map(lambda k: (k % 2, explain((IMAGES[:1], black)[k % 2])), range(12)):
            torch.testing.assert_close(found[1], alone[found[0]])


def test_what_is_counted_of_a_call_is_that_call_s_alone() -> None:
    meanwhile, classifier = watched(tiny_net())
    meanwhile.call = lambda: classifier(IMAGES)
    assert counted(lambda: classifier(IMAGES[:1]), classifier.module).forwards == 1


def test_what_a_last_layer_reads_is_of_the_pictures_that_were_given() -> None:
    meanwhile, classifier = watched(tiny_net())
    expected = _read(classifier, classifier.module[-1], IMAGES[:1])
    meanwhile.call = lambda: classifier(IMAGES)
    for found, alone in zip(_read(classifier, classifier.module[-1], IMAGES[:1]), expected, strict=True):
        torch.testing.assert_close(found, alone)
