"""Class activation maps whose weights are gradients: Grad-CAM, Grad-CAM++, LayerCAM."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerExplainer, weighted
from maskwise.explainers.relevance.balanced import logits_to_differentiate
from maskwise.explainers.targets import Targets


class GradientCam(LayerExplainer):
    """ReLU(sum_k w_k A_k); each method is its own ``weights``.

    Args:
        classifier: what is explained.
        layer: as ``LayerExplainer`` has it.
        balanced: as ``gradient`` has it.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None, balanced: bool = False) -> None:
        super().__init__(classifier, layer)
        self.balanced = balanced

    def activation(self, images: Tensor) -> tuple[Tensor, Tensor]:
        with self.classifier.tapped([self.layer], leaf=True) as seen:
            logits = logits_to_differentiate(self.classifier, images, self.balanced)
        return logits, seen[self.layer]

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        """(N,c), or (N,c,h,w), of activation and d logit / d activation, both (N,c,h,w)."""
        raise NotImplementedError

    @property
    def map_is_free(self) -> bool:
        return self.layer == self.classifier.tap_names[-1]  # only the head is differentiated

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        activation, by_target, logits = self.with_gradients(images, targets)
        return torch.stack([weighted(self.weights(activation, g), activation) for g in by_target], 1), logits


@methods.register(
    "grad_cam",
    family="class activation",
    paper="Selvaraju et al. 2017",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward to the layer",
)
class GradCam(GradientCam):
    """Weights are the mean over positions of d logit / d A_k (Selvaraju et al. 2017, Eq. 1-2)."""

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return gradient.mean((2, 3))


@methods.register(
    "grad_cam_pp",
    family="class activation",
    paper="Chattopadhay et al. 2018",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward to the layer",
)
class GradCamPP(GradientCam):
    """Grad-CAM++: w_k = sum_ij a_ij ReLU(g_ij), a = g^2 / (2 g^2 + g^3 sum A) (Eq. 19 with Y = exp(logit)).

    The factor exp(logit), common to all channels, is left out: min-max takes it away.
    """

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return pp_weights(activation, gradient)


def pp_weights(activation: Tensor, gradient: Tensor) -> Tensor:
    """Grad-CAM++'s channel weights (N,c); where both terms of the denominator are zero the share is zero."""
    squared = gradient**2
    below = 2 * squared + gradient**3 * activation.sum((2, 3), keepdim=True)
    share = torch.where(below != 0, squared / torch.where(below != 0, below, 1), 0)
    return (share * gradient.relu()).sum((2, 3))


@methods.register(
    "layer_cam",
    family="class activation",
    paper="Jiang et al. 2021",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward to the layer",
)
class LayerCam(GradientCam):
    """Each position has its own weight, ReLU of its gradient (Jiang et al. 2021, Eq. 5-7); fit for early layers."""

    def weights(self, activation: Tensor, gradient: Tensor) -> Tensor:
        return gradient.relu()
