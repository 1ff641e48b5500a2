"""Class activation: what each place of the last activation says for a class, where one linear layer decides."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier


class ClassActivation:
    """sum_k w_k^c A_k with w the weights of the last linear layer (Zhou et al. 2016, Eq. 2).

    Args:
        classifier: a network that ends in global average pooling and one linear layer.

    Raises:
        NoClassActivationError: its last layer is not linear, or doesn't give the classes.
    """

    def __init__(self, classifier: Classifier) -> None:
        layers = [m for m in classifier.module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        last = layers[-1] if layers else None
        if last is None or last.weight.shape[0] != len(classifier.labels) or last.weight[0, 0].numel() != 1:
            raise NoClassActivationError
        self.head = last

    def __call__(self, activation: Tensor, classes: Tensor) -> Tensor:
        """Maps (N,K,h,w) of the last activation (N,C,h,w) for classes (N,K).

        Raises:
            NoClassActivationError: the layer does not read this activation.
        """
        weight = self.head.weight.flatten(1)
        if weight.shape[1] != activation.shape[1]:
            raise NoClassActivationError
        return torch.einsum("nkc,nchw->nkhw", weight[classes], activation.to(weight.dtype))

    def explains(self, maps: Tensor, logits: Tensor, classes: Tensor) -> bool:
        """Do maps (N,K,h,w) average to the logits (N,C) less the bias, as they must?"""
        offset = 0.0 if self.head.bias is None else self.head.bias[classes]
        found, expected = (maps.mean((2, 3)) + offset).float(), logits.gather(1, classes).float()
        slack = 1e-3 if logits.dtype == torch.float32 else 0.05  # autocast rounds
        size = torch.maximum(expected.abs().max(), maps.abs().max().float())  # of what is added up: logits may be tiny
        return bool((found - expected).abs().max() <= slack * size)


class NoClassActivationError(Exception):
    """The network has none."""
