"""Balanced gradients (LibraGrad): the rules of relevance as an option of methods that differentiate."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.explainers.relevance.rules import run
from maskwise.explainers.relevance.sums import Epsilon

GRADIENT = Epsilon(0)  # weighted sums hand on what gradients do


def logits_to_differentiate(classifier: Classifier, images: Tensor, balanced: bool) -> Tensor:
    """Logits (N,C) of images (N,3,H,W) in [0,1], whose gradients are the usual ones or balanced.

    Balanced gradients g keep the sum of x * g from layer to layer (Mehri et al., LibraGrad, CVPR 2025): the deviation
    in normalisations and the softmax of attention are constants, an activation f is x * (f(x)/x) with that factor
    constant, and each factor of a gated product gets half. Networks of ReLUs have these gradients anyway. All of it
    runs in float32.

    Raises:
        InputError: balanced ones of a network whose layers cannot be seen.
    """
    if not balanced:
        return classifier.logits(images)
    with torch.autocast(images.device.type, enabled=False):
        return run(GRADIENT, classifier, classifier.normalise(images), "`balanced`", "leave `balanced` out")[0]
