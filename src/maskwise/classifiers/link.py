"""From logits to probabilities: softmax over classes that exclude each other, sigmoid for findings that don't."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Activation = Literal["softmax", "sigmoid", "none"]
ROUNDING = 1e-3  # a network's own softmax in half precision is off by less
ACTIVATIONS: tuple[Activation, ...] = ("softmax", "sigmoid", "none")


def probabilities_of(logits: Tensor, activation: Activation, dim: int = 1) -> Tensor:
    """Probabilities, in the type of the logits; with ``none`` the network's outputs are taken as they are."""
    if activation == "softmax":
        return logits.softmax(dim)
    return logits.sigmoid() if activation == "sigmoid" else logits


def beyond_probability(values: Tensor, least: float = 0.0) -> Tensor:
    """Bool of numbers that are no probabilities: above 1 or below ``least``, by more than half precision's rounding.

    Example:
        >>> beyond_probability(torch.tensor([-0.1, -0.0005, 0.5, 1.0005, 46.0])).tolist()
        [True, False, False, False, True]
    """
    return (values > 1 + ROUNDING) | (values < least - ROUNDING)


def ranked_classes(logits: Tensor, count: int) -> Tensor:
    """(…,count) indices of the largest logits (…,K), at most K; of equals the first comes first.

    Not by probabilities: of sigmoids in float32 those of logits above 17 are all 1, and another class than the one that
    is explained would be named.

    Example:
        >>> ranked_classes(torch.tensor([20.0, 30.0, -5.0]), 5).tolist()
        [1, 0, 2]
    """
    return logits.argsort(dim=-1, descending=True, stable=True)[..., :count]


def likelier(logits: Tensor, activation: Activation) -> Tensor:
    """Bool of logits, each by itself: is the finding likelier than not, p > 1/2? Of logits no sigmoid rounds that."""
    return logits > (0.5 if activation == "none" else 0)


def log_probabilities_of(logits: Tensor, activation: Activation, dim: int = 1) -> Tensor:
    """Their logarithms; outputs that are no probabilities are held at the smallest number above zero."""
    if activation == "softmax":
        return logits.log_softmax(dim)
    if activation == "sigmoid":
        return F.logsigmoid(logits)
    return logits.clamp(min=torch.finfo(logits.dtype).tiny).log()
