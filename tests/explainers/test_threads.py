"""Several threads ask one classifier at once, and each gets what it would get alone."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident
from typing import Any

import pytest
import torch
from classifiers.test_learned_queries import Pooler, network
from conftest import Block, tiny_net, tiny_vit
from explainers.test_methods import FAST
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.explainers import explainer, methods

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
