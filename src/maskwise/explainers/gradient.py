"""Gradients of the score by the pixels."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.explainers.base import Explainer, gradients, methods, recording
from maskwise.explainers.relevance.balanced import logits_to_differentiate
from maskwise.explainers.targets import Targets


@methods.register(
    "gradient",
    family="gradients",
    paper="Simonyan, Vedaldi, Zisserman 2013",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward",
)
class Gradient(Explainer):
    """max over colours of |d logit / d pixel| (Simonyan et al. 2013, section 3.1).

    Args:
        classifier: what is explained.
        balanced: gradients by LibraGrad's rules (Mehri et al. 2025), made for transformers: of a network of ReLUs
            without gates and attention they are the usual ones. These are the rules of ``lrp``, and so is the caution
            about its patent.
    """

    def __init__(self, classifier: Classifier, balanced: bool = False) -> None:
        super().__init__(classifier)
        self.balanced = balanced

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with recording(images) as pixels:
            logits = logits_to_differentiate(self.classifier, pixels, self.balanced)
            by_target = gradients(targets.scores(logits), pixels)
            return torch.stack([self.reduce(g, pixels.detach()) for g in by_target], 1), logits

    def reduce(self, gradient: Tensor, pixels: Tensor) -> Tensor:
        """Map (N,H,W) of the gradient (N,3,H,W)."""
        return gradient.abs().amax(1)


@methods.register(
    "input_x_gradient",
    family="gradients",
    paper="Shrikumar et al. 2016",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward",
)
class InputXGradient(Gradient):
    """|sum over colours of x * d logit / d x|, with x the normalised picture, whose zero is the mean colour.

    Args:
        classifier: what is explained.
        balanced: as ``gradient`` has it. Then the sum of x * g is the logit, less what biases hold.
    """

    def reduce(self, gradient: Tensor, pixels: Tensor) -> Tensor:
        # d/dx of the normalised picture is d/dpixel times std, and x is (pixel - mean) / std: std cancels.
        return (gradient * (pixels - self.classifier.mean[:, None, None])).sum(1).abs()
