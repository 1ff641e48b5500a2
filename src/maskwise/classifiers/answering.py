"""How much of each layer's grid the answer depends on, measured by one backward."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers.classifier import Classifier
from maskwise.core.modes import eval_mode, frozen

ANSWERS = 1e-6  # of the largest share: what is less is rounding


def gradient_shares(classifier: Classifier) -> dict[str, float]:
    """Root mean square of d logits / d grid of every step with a grid, in the order of the forward.

    The gradient is of a random mixture of all logits, at a picture of noise. Where a class token carries the answer,
    the grid of the last block no longer reaches it, and its share is 0.

    Returns:
        Shares by the step's name, relative to its activation's deviation, so that depths can be compared.

    Raises:
        InputError: no layer with a grid.
    """
    steps = classifier.taps.steps or classifier.tap_names
    draws = torch.Generator().manual_seed(0)
    image = torch.rand(1, classifier.channels, *classifier.size, generator=draws).to(classifier.device)
    found: dict[str, Tensor] = {}
    with torch.inference_mode(False), torch.enable_grad(), eval_mode(classifier), frozen(classifier):
        with classifier.tapped(steps, raw=True) as seen:
            logits = classifier.logits(image.requires_grad_(True))
        mixture = torch.randn(logits.shape, generator=draws).to(logits)
        found = {name: output for name, output in seen.items() if output.requires_grad}
        if not found:
            return dict.fromkeys(steps, 0.0)
        slopes = torch.autograd.grad((logits * mixture).sum(), list(found.values()), allow_unused=True)
    shares = dict.fromkeys(steps, 0.0)
    for (name, output), slope in zip(found.items(), slopes, strict=True):
        layout = classifier.layout(name)
        places = None if layout is None or slope is None else layout.grid(slope)
        if layout is not None and places is not None:
            activation = layout.grid(output.detach())
            assert activation is not None
            shares[name] = float(places.float().square().mean().sqrt() * activation.float().std())
    return shares


def answering_layer(classifier: Classifier) -> str:
    """The deepest step whose grid the answer still depends on: what class activation methods read.

    The last one where no gradient reaches any of them.

    Raises:
        InputError: no layer with a grid.
    """
    shares = gradient_shares(classifier)
    largest = max(shares.values())
    for name in reversed(list(shares)):
        if shares[name] > ANSWERS * largest:
            return name
    return list(shares)[-1]  # the answer is always the same, and so is every map
