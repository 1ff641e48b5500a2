"""Whom the tests of teachers and of what they teach ask, and the pictures that they see."""

from __future__ import annotations

import torch
from conftest import tiny_net
from torch import Tensor

from maskwise.classifiers import Classifier


def classifier() -> Classifier:
    return Classifier(tiny_net(), input_size=32, name="tiny")


def pictures() -> list[Tensor]:
    draws = torch.Generator().manual_seed(4)
    return [torch.rand(3, h, w, generator=draws) for h, w in ((40, 48), (33, 60), (64, 64))]
