"""Of every registered method: batch size, order of the pictures and number of threads change no map beyond 1e-5."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
import torch
from explainers.test_methods import FAST, build  # noqa: F401  (a fixture)
from torch import Tensor

from maskwise.explainers import methods
from maskwise.explainers.base import Explainer

IMAGES = torch.rand(4, 3, 40, 52, generator=torch.Generator().manual_seed(6))
TARGETS = torch.tensor([3, 0, 4, 1])
ORDER = torch.tensor([2, 0, 3, 1])
BOUND = 1e-5
# With its own start and penalty: from a mask of ones without one, few steps leave a nearly flat map, and stretching
# that to [0,1] stretches the last digits, too.
OWN = {"meaningful_perturbation": {"iterations": 30}}


@contextmanager
def threads(number: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", methods.names())
def test_company_order_and_threads(name: str, build: Callable[..., Explainer]) -> None:  # noqa: F811
    with pytest.MonkeyPatch.context() as patch:
        if name in OWN:
            patch.setitem(FAST, name, OWN[name])
        explain = build(name)

    def furthest(maps: Tensor, others: Tensor) -> float:
        return float((maps - others).abs().max())

    with threads(1):
        whole = explain(IMAGES, TARGETS)
        torch.manual_seed(1)
        assert torch.equal(explain(IMAGES, TARGETS), whole), "twice the same, wherever the global generator is"
        pairs = torch.cat([explain(IMAGES[i : i + 2], TARGETS[i : i + 2]) for i in (0, 2)])
        one = explain(IMAGES[3:], TARGETS[3:])
        shuffled = explain(IMAGES[ORDER], TARGETS[ORDER])
    with threads(2):
        two = explain(IMAGES, TARGETS)
    found = {
        "in twos": furthest(pairs, whole), "alone": furthest(one, whole[3:]),
        "in another order": furthest(shuffled, whole[ORDER]), "two threads": furthest(two, whole),
    }  # fmt: skip
    assert max(found.values()) <= BOUND, found
    if methods.facts(name)["random"]:
        same = explain(IMAGES[:1].expand(2, -1, -1, -1).clone(), TARGETS[:1].expand(2))
        assert torch.equal(*same), "draws belong to the picture, not to its place"
