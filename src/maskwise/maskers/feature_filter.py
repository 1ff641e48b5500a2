"""The feature filter: lets through what speaks for a named class (Dabkowski & Gal 2017, section 4.1)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

Embedding = Literal["normal", "classifier"]


class FeatureFilter(nn.Module):
    """Y_ij = X_ij sigmoid(X_ij . C_k - confidence), with an embedding C_k of each class k.

    Args:
        channels: of the features X.
        classes: how many there are.

    Attributes:
        embedding: (classes, channels); begins as N(0, 1 / channels), ``channels`` being the variance's denominator.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(classes, channels) / channels**0.5)

    def agreement(self, features: Tensor, classes: Tensor) -> Tensor:
        """X_ij . C_k: (N,K,h,w) of features (N,C,h,w) and classes (N,K)."""
        rows = torch.bmm(self.embedding[classes], features.flatten(2))
        filtered: Tensor = rows.unflatten(2, features.shape[-2:])
        return filtered

    def existence(self, features: Tensor, classes: Tensor) -> Tensor:
        """Logits (N,K) of each class being in the picture: the mean of ``agreement`` over the grid.

        It needs no grid: the mean of the products is the product with the mean.
        """
        return torch.einsum("nkc,nc->nk", self.embedding[classes], features.mean((2, 3)))

    def gate(self, features: Tensor, classes: Tensor, confidence: float = 0.0) -> Tensor:
        """(N,K,h,w) in [0,1], what is let through at each place; arguments as ``forward``."""
        return torch.sigmoid(self.agreement(features, classes) - confidence)

    def forward(self, features: Tensor, classes: Tensor, confidence: float = 0.0) -> Tensor:
        """Filtered features (N,K,C,h,w).

        Args:
            features: (N,C,h,w), the encoder's coarsest tap.
            classes: (N,K) int64.
            confidence: how sure of the class a place must be: 0 in the paper, 6 in the released code after training.
        """
        return features[:, None] * self.gate(features, classes, confidence)[:, :, None]

    @torch.no_grad()
    def start_at(self, classifier: Classifier) -> None:
        """Embeddings become the weights of the classifier's last layer.

        In a network that ends in average pooling and one linear layer these are what the mean features are compared
        with, so that a class that training never names has an embedding too.

        Raises:
            InputError: the network has no such layer.
        """
        wanted = self.embedding.shape
        fitting = [
            m.weight for m in classifier.module.modules() if isinstance(m, nn.Linear) and m.weight.shape == wanted
        ]
        if not fitting:
            raise InputError(
                f"{classifier.name} has no linear layer of {wanted[1]} features and {wanted[0]} classes: "
                "take embedding=normal"
            )
        self.embedding.copy_(fitting[-1])
