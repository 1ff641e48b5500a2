"""Activations of one layer and the gradients that reach it: what all class activation methods begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer, answering_layer
from maskwise.classifiers.grids import layout_of
from maskwise.classifiers.taps import layer_of
from maskwise.core.errors import InputError
from maskwise.explainers.base import Explainer, gradients
from maskwise.explainers.doubts import coarse_grid, zero_gradient
from maskwise.explainers.targets import Targets


@dataclass(frozen=True)
class LayerChoice:
    """The layers of a classifier that a method reads where none is named, and why those."""

    layers: tuple[str, ...]
    why: str


class LayerExplainer(Explainer):
    """A method that reads one layer.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one whose grid the answer depends on, measured by one backward
            (``answering_layer``): the last activation, or where a class token carries the answer the block before.

    Raises:
        InputError: no such layer, or one without a spatial grid.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None) -> None:
        super().__init__(classifier)
        self.layer = named_layer(classifier, self.usual_layer(classifier) if layer is None else layer)

    @classmethod
    def usual_layer(cls, classifier: Classifier, layers: Sequence[MeasuredLayer] | None = None) -> str:
        """The layer that is read where none is named.

        Args:
            classifier: what is explained.
            layers: ``measured_layers`` of it, where they are at hand.

        Raises:
            InputError: there is none.
        """
        return answering_layer(classifier, layers)

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        """The same with its reason, for listings.

        Args:
            classifier: what would be explained.
            layers: ``measured_layers`` of it.

        Raises:
            InputError: the method can't explain this classifier.
        """
        layer = cls.usual_layer(classifier, layers)
        place = [one.name for one in layers].index(layer)
        after = ", ".join(one.name for one in layers[place + 1 :])
        if layers[place].share == 0:
            why = "no gradient reaches any layer; this is the last one"
        elif after:
            why = f"the deepest one that the answer depends on; no gradient reaches {after}"
        else:
            why = "the last one"
        return LayerChoice((layer,), why)

    @property
    def grids_read(self) -> tuple[str, ...]:
        return (self.layer,)

    def grid(self, output: Tensor) -> Tensor:
        """(N,c,h,w) of the layer's output, or of its gradient."""
        layout = self.classifier.layout(self.layer)
        if self.layer not in self.classifier.taps.layouts:  # the forward that was watched went another way
            layout = layout_of(output, self.classifier.size)
        seen = None if layout is None else layout.grid(output)
        if seen is None:
            raise InputError(f"the output of layer {self.layer!r} has no spatial grid; choose another layer")
        self.doubt("coarse_grid", coarse_grid(seen))
        return seen

    def activation(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N,C) and the layer's output as it is; ``self.grid`` makes it (N,c,h,w)."""
        with self.classifier.tapped([self.layer], leaf=True) as seen:
            logits = self.classifier.logits(images)
        return logits, seen[self.layer]

    def with_gradients(self, images: Tensor, targets: Targets) -> tuple[Tensor, list[Tensor], Tensor]:
        """Activation (N,c,h,w), for each target d logit / d activation, and the logits (N,C)."""
        with torch.enable_grad():
            logits, output = self.activation(images)
            by_target = [self.grid(g.detach()) for g in gradients(targets.scores(logits), output)]
            self.doubt("zero_gradient", torch.stack([zero_gradient(g) for g in by_target], 1))
            return self.grid(output.detach()), by_target, logits.detach()


def named_layer(classifier: Classifier, name: str) -> str:
    """The name, of a layer that there is: an unknown one is told now rather than at the first picture.

    Args:
        name: a sequential network's layers are numbers, and as such they may come.

    Raises:
        InputError: no such layer; the network as a whole, whose name is empty, is none.
    """
    if not str(name):
        raise InputError("a layer has a name, and this one is empty; see module.named_modules()")
    layer_of(classifier.module, str(name))
    return str(name)


def weighted(weights: Tensor, activation: Tensor) -> Tensor:
    """ReLU(sum_k w_k A_k) (N,h,w) of weights (N,c) or (N,c,h,w)."""
    shaped = weights if weights.ndim == 4 else weights[:, :, None, None]
    return torch.relu((shaped * activation).sum(1))
