"""Grad-CAM."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.taps import tapped
from maskwise.methods.base import Explainer, methods, pick


@methods.register(
    "grad_cam",
    family="class activation",
    paper="Selvaraju et al. 2017",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward to the layer",
)
class GradCam(Explainer):
    """ReLU(sum_k a_k A_k), with a_k the mean over positions of d logit / d A_k (Selvaraju et al. 2017, Eq. 1-2).

    Args:
        classifier: what is explained.
        layer: name of the layer A; None is the classifier's last tap.

    Raises:
        InputError: no such layer, or one without a spatial grid.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None) -> None:
        super().__init__(classifier)
        self.layer = layer or classifier.tap_names[-1]
        with tapped(classifier.module, [self.layer]):
            pass  # only to name an unknown layer now rather than at the first picture

    def saliency(self, images: Tensor, targets: Tensor | None) -> Tensor:
        with torch.inference_mode(False), torch.enable_grad():
            # The pictures ask for a gradient only so that the frozen network records its forward.
            pixels = images.clone().requires_grad_(True)
            with tapped(self.classifier.module, [self.layer]) as seen:
                logits = self.classifier.scores(pixels)
            activation = seen[self.layer]
            (gradient,) = torch.autograd.grad(pick(logits, targets).sum(), activation)
        weights = gradient.mean((2, 3), keepdim=True)
        return (weights * activation.detach()).sum(1).relu()
