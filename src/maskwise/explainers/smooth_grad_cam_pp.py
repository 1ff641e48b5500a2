"""Smooth Grad-CAM++: Grad-CAM++ with derivatives averaged over noisy copies."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.base import gradients, methods
from maskwise.explainers.doubts import zero_gradient
from maskwise.explainers.layers import LayerExplainer, weighted
from maskwise.explainers.perturb import Perturbation, generators
from maskwise.explainers.smooth_grad import normal_each
from maskwise.explainers.targets import Targets


@methods.register(
    "smooth_grad_cam_pp",
    family="class activation",
    paper="Omeiza et al. 2019",
    needs_gradients=True,
    needs_target=True,
    random=True,
    cost="1 forward, samples forwards and backwards to the layer",
)
class SmoothGradCamPP(Perturbation, LayerExplainer):
    """Grad-CAM++ whose first, second and third derivatives are means over noisy copies (Omeiza et al., Eq. 8-9).

    The activations that are weighed, and that enter the weights' denominator, are the clean picture's. At a layer
    behind which there is only average pooling and one linear layer, gradients are the same of every picture: noise
    changes nothing there, and the map is that of ``grad_cam_pp``. An earlier ``layer`` has more to say.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one that the answer depends on.
        samples: noisy copies.
        noise: standard deviation, as a share of the picture's own range (max - min).
        seed: of the noise; each picture draws its own.
        batch: copies in one forward.

    Raises:
        InputError: no such layer, no samples, or negative noise.
    """

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        samples: int = 25,
        noise: float = 0.15,
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        Perturbation.__init__(self, classifier, batch)
        LayerExplainer.__init__(self, classifier, layer)
        if samples < 1 or noise < 0:
            raise InputError(f"smooth_grad_cam_pp needs samples >= 1 and noise >= 0, not {samples} and {noise}")
        self.samples, self.noise, self.seed = samples, noise, seed

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            logits, activation = self.activation(images)
        targets, activation = targets.resolved(logits), self.grid(activation).float()
        sigma = (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))[:, None, None, None, None] * self.noise
        draws = generators(images, self.seed)
        shape = (targets.count, *activation.shape)
        moments = [torch.zeros(shape, device=images.device) for _ in range(3)]
        for begin, end in self.chunks(len(images), self.samples):
            noisy = (images[:, None] + sigma * normal_each(draws, end - begin, images)).flatten(0, 1)
            rows = torch.arange(len(images), device=images.device).repeat_interleave(end - begin)
            with torch.enable_grad():
                logits, seen = self.activation(noisy)
                for k, g in enumerate(gradients(targets.scores(logits, rows), seen)):
                    each = self.grid(g.detach()).float().unflatten(0, (len(images), -1))
                    for power, moment in enumerate(moments, 1):
                        moment[k] += (each**power).sum(1) / self.samples
        first, second, third = moments
        self.doubt("zero_gradient", torch.stack([zero_gradient(squares) for squares in second], 1))
        weights = [_weights(first[k], second[k], third[k], activation) for k in range(targets.count)]
        return torch.stack([weighted(w, activation) for w in weights], 1)


def _weights(first: Tensor, second: Tensor, third: Tensor, activation: Tensor) -> Tensor:
    """(N,c); Grad-CAM++'s weights where the derivatives are means."""
    below = 2 * second + third * activation.sum((2, 3), keepdim=True)
    share = torch.where(below != 0, second / torch.where(below != 0, below, 1), 0)
    return (share * first.relu()).sum((2, 3))
