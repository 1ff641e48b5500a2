"""Gradient saliency."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.methods.base import Explainer, methods, pick


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
    """max over colours of |d logit / d pixel| (Simonyan et al. 2013, section 3.1)."""

    def saliency(self, images: Tensor, targets: Tensor | None) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            # A clone leaves inference mode behind, should the caller be in it.
            pixels = images.clone().requires_grad_(True)
            score = pick(self.classifier.scores(pixels), targets).sum()
            (gradient,) = torch.autograd.grad(score, pixels)
        return gradient.abs().amax(1)
