"""The part of a classifier behind a layer, run on activations that are there already."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.class_activation import ClassActivation, last_layer
from maskwise.classifiers.taps import layer_of
from maskwise.core.errors import InputError
from maskwise.core.own_thread import in_this_thread
from maskwise.explainers.excitation import carries_all
from maskwise.maskers.class_gate import check_class_activation


class Tail:
    """From what a tap gives to the last tap, and what that one says of classes.

    The layers before the tap see one black picture, whose activation the given ones replace; so whatever the network
    is, only what lies behind the tap costs anything.

    Args:
        classifier: that ends in average pooling and one linear layer behind its last tap.
        layer: a tap's name.
        size: (h,w) of the pictures that the activations are of.

    Raises:
        InputError: something leads around that layer, it gives no (N,C,h,w), or there is no class activation.
    """

    def __init__(self, classifier: Classifier, layer: str, size: tuple[int, int]) -> None:
        check_class_activation(classifier, "losses.bas")
        layout = classifier.layout(layer)
        if layer == classifier.tap_names[-1]:
            raise InputError("losses.bas masks a tap before the last one: name two `taps`, such as [-2, -1]")
        if (layout is not None and layout.kind != "first") or not carries_all(classifier, layer):
            raise InputError(
                f"losses.bas runs what lies behind {layer!r}, and in {classifier.name} that is no grid, or something "
                "leads around it to the answer: name later `taps`"
            )
        self.classifier, self.size = classifier, size
        self.part, _ = layer_of(classifier.module, layer)
        self.of_class = ClassActivation(classifier)

    def __call__(self, activation: Tensor) -> Tensor:
        """The last tap (B,C',h',w') of an activation (B,C,h,w) at the layer."""

        def given(_: nn.Module, __: Any, output: Tensor) -> Tensor:
            return activation.to(output.dtype)

        handle = self.part.register_forward_hook(in_this_thread(given))
        last = self.classifier.tap_names[-1]
        try:
            with self.classifier.tapped([last]) as seen:
                self.classifier.logits(self.classifier.example(1, self.size))
        finally:
            handle.remove()
        return seen[last]

    def activation(self, last: Tensor, labels: Tensor) -> Tensor:
        """(B,): the class activation of a last tap (B,C,h,w) for each label, ReLU, mean over places."""
        return self.of_class(last, labels[:, None])[:, 0].relu().mean((1, 2))

    def answer(self, last: Tensor) -> Tensor:
        """Logits (B,K) of a last tap (B,C,h,w)."""
        pooled = last.mean((2, 3))
        head = last_layer(self.classifier)
        assert head is not None
        weight = head.weight.flatten(1)
        if isinstance(head, nn.Conv2d) and pooled.shape[1] == len(weight) != weight.shape[1]:
            return pooled  # each class has a channel already
        bias = None if head.bias is None else head.bias.to(pooled.dtype)
        return F.linear(pooled, weight.to(pooled.dtype), bias)
