"""How much of each layer's grid the answer depends on, measured by one backward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.classifiers.classifier import Classifier
from maskwise.core.modes import eval_mode, frozen
from maskwise.core.portions import out_of_memory

ANSWERS = 1e-6  # of the largest share: what is less is rounding


@dataclass(frozen=True)
class MeasuredLayer:
    """A step of a network whose output has places.

    Attributes:
        name: of the module, as ``layer=`` takes it.
        grid: (h,w) of a picture at the classifier's size.
        channels: of a place.
        share: root mean square of d logits / d grid, relative to the activation's deviation, so that depths can be
            compared; 0 where no gradient reaches the grid.
        is_tap: is it one of the classifier's taps?
    """

    name: str
    grid: tuple[int, int]
    channels: int
    share: float
    is_tap: bool


def measured_layers(classifier: Classifier) -> tuple[MeasuredLayer, ...]:
    """Every step with a grid, in the order of the forward, and what the answer has from it.

    The gradient is of a random mixture of all logits, at a picture of noise. Where a class token carries the answer,
    the grid of the last block no longer reaches it, and its share is 0.

    Raises:
        InputError: no layer with a grid.
    """
    steps = tuple(dict.fromkeys(classifier.taps.steps)) or classifier.tap_names
    draws = torch.Generator().manual_seed(0)
    differentiable = not any(weight.is_inference() for weight in classifier.module.parameters())
    # Weights of an inference mode raise an error where others have no gradient.
    grad = torch.enable_grad() if differentiable else torch.no_grad()
    with torch.inference_mode(False), grad, eval_mode(classifier), frozen(classifier):
        image = torch.rand(1, classifier.channels, *classifier.size, generator=draws).to(classifier.device)
        with classifier.tapped(steps, raw=True) as seen:
            logits = classifier.logits(image.requires_grad_(True))
        mixture = torch.randn(logits.shape, generator=draws).to(logits)
        slope_of = _slopes((logits * mixture).sum(), {name: x for name, x in seen.items() if x.requires_grad})
    measured = []
    for name in steps:
        layout, slope = classifier.layout(name), slope_of.get(name)
        activation = None if layout is None or name not in seen else layout.grid(seen[name].detach())
        if layout is None or activation is None:
            continue
        places = None if slope is None else layout.grid(slope)
        share = 0.0 if places is None else float(places.float().square().mean().sqrt() * activation.float().std())
        grid = (activation.shape[2], activation.shape[3])
        measured.append(MeasuredLayer(name, grid, activation.shape[1], share, name in classifier.tap_names))
    return tuple(measured)


def answering_layer(classifier: Classifier, layers: Sequence[MeasuredLayer] | None = None) -> str:
    """The deepest step whose grid the answer still depends on: what class activation methods read.

    The last one where no gradient reaches any of them.

    Args:
        classifier: whose.
        layers: ``measured_layers`` of it, where they are at hand.

    Raises:
        InputError: no layer with a grid.
    """
    layers = measured_layers(classifier) if layers is None else layers
    largest = max(layer.share for layer in layers)
    for layer in reversed(layers):
        if layer.share > ANSWERS * largest:
            return layer.name
    return layers[-1].name  # the answer is always the same, and so is every map


def _slopes(score: Tensor, outputs: Mapping[str, Tensor]) -> dict[str, Tensor | None]:
    """d score / d output of each; none at all where the network can't be differentiated.

    Methods without gradients need not know; those with gradients meet the error themselves, and say it in words.
    """
    try:
        found = torch.autograd.grad(score, list(outputs.values()), allow_unused=True) if outputs else ()
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        return {}
    return dict(zip(outputs, found, strict=True))
