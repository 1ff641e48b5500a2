"""Gradients through ReLUs that pass only what speaks for the score: guided backpropagation and deconvnet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.backward_rules import Handler, ReluRules, check_met
from maskwise.explainers.base import Explainer, gradients, methods, recording
from maskwise.explainers.targets import Targets


class RectifiedGradient(Explainer):
    """The gradient with another backward of ReLU.

    Args:
        classifier: what is explained; activations other than ReLU and ReLU6 keep their ordinary gradient.
        reduce: colours to one map, of the signal g (N,3,H,W) that reaches the pixels: "max" is the maximum of |g|,
            "sum" the sum of |g|, "positive" the maximum of g where it is positive.

    Raises:
        InputError: at the first picture, for a network without any ReLU.
    """

    name: ClassVar[str]
    local: ClassVar[bool] = True

    def __init__(self, classifier: Classifier, reduce: Literal["max", "sum", "positive"] = "max") -> None:
        super().__init__(classifier)
        if reduce not in ("max", "sum", "positive"):
            raise InputError(f"reduce is max, sum or positive, not {reduce!r}")
        self.reduce = reduce

    def handlers(self) -> Mapping[str, Handler]:
        """Operations beside ReLU that get another backward."""
        return {}

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with recording(images) as pixels:
            with ReluRules(self.local, self.handlers()) as rules:
                logits = self.classifier.logits(pixels)
            check_met(rules, self.name, self.classifier)
            return torch.stack([self.colours(g) for g in gradients(targets.scores(logits), pixels)], 1), logits

    def colours(self, signal: Tensor) -> Tensor:
        if self.reduce == "positive":
            return signal.amax(1).relu()
        return signal.abs().amax(1) if self.reduce == "max" else signal.abs().sum(1)


@methods.register(
    "guided_backprop",
    family="gradients",
    paper="Springenberg et al. 2015",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward",
)
class GuidedBackprop(RectifiedGradient):
    """max over colours of |g|, where ReLU's backward is g * (g > 0) * (x > 0) (Springenberg et al. 2015).

    Known to depend little on the target and on the upper layers (Adebayo et al. 2018).
    """

    name = "guided_backprop"


@methods.register(
    "deconvnet",
    family="gradients",
    paper="Zeiler and Fergus 2014",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward",
)
class Deconvnet(RectifiedGradient):
    """max over colours of |g|, where ReLU's backward is g * (g > 0) whatever x was (Zeiler and Fergus 2014).

    Max-pooling goes back through its switches, which is its ordinary backward.
    """

    name, local = "deconvnet", False
