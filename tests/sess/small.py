"""A small classifier and small pictures for tests of SESS."""

from __future__ import annotations

from collections.abc import Callable

import torch
from conftest import tiny_net
from torch import Tensor, nn

from maskwise.classifiers import Classifier

SIDE = 32  # of the tiny classifier
TINY = Classifier(tiny_net(), input_size=SIDE, name="tiny")


def pictures(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, height, width, generator=torch.Generator().manual_seed(seed))


def brightness(images: Tensor, targets: object) -> Tensor:
    """A map of the pixels alone, which commutes with flips."""
    return images.mean(1)


def rows_seen(classifier: Classifier, call: Callable[[], object]) -> int:
    """Pictures that go through the network."""
    count = 0

    def hook(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal count
        count += len(given[0])

    handle = classifier.module.register_forward_pre_hook(hook)
    try:
        call()
    finally:
        handle.remove()
    return count
