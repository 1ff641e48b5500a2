"""Opti-CAM: the weights of a class activation map, optimised for what the picture shows through it."""

from __future__ import annotations

from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.min_max import min_max
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerExplainer
from maskwise.explainers.optimised import check_descent, descend, learning, steps
from maskwise.explainers.targets import Targets


@methods.register(
    "opti_cam",
    family="class activation",
    paper="Zhang et al. 2024 (Opti-CAM)",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="51 forwards, 50 backwards",
)
class OptiCam(LayerExplainer):
    """m = minmax(upsampled(sum_k softmax(w)_k ReLU(A_k))), w so that logit_c(x m) is as large as can be.

    Every w begins alike, so that the first mask is the mean activation. Adam goes so many steps, and the mask whose
    score was the largest is the map; the authors' code stops at the first tenth of the steps in which the loss rose,
    and takes the last. Hidden pixels are black. ``report["score"]`` is what the map's picture scores.
    A picture whose answer no mask changes has a map of zeros.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one that the answer depends on.
        iterations: of Adam; 50 in the authors' script.
        learning_rate: of Adam; 0.1 in the authors' script.

    Raises:
        InputError: no such layer, or an option outside of its range.
    """

    def __init__(
        self, classifier: Classifier, layer: str | None = None, iterations: int = 50, learning_rate: float = 0.1
    ) -> None:
        super().__init__(classifier, layer)
        check_descent(iterations, learning_rate)
        self.iterations, self.learning_rate = iterations, learning_rate

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            logits, output = self.activation(images)
            grid = self.grid(output).float().relu()
        size = (images.shape[-2], images.shape[-1])
        with learning(self, images, targets.resolved(logits)) as (pixels, wanted):
            channels = grid.clone()
            weights = torch.full(channels.shape[:2], 0.5, device=pixels.device, requires_grad=True)
            optimiser = torch.optim.Adam([weights], lr=self.learning_rate)
            heard = torch.zeros(len(pixels), dtype=torch.bool, device=pixels.device)
            best, most = torch.zeros_like(pixels[:, 0]), torch.full((len(pixels),), -inf, device=pixels.device)

            def masks() -> Tensor:
                mixed = torch.einsum("nk,nkhw->nhw", weights.softmax(1), channels)
                return min_max(F.interpolate(mixed[:, None], size, mode="bilinear", align_corners=False)[:, 0])

            for step in steps(self, self.iterations + 1):
                with torch.set_grad_enabled(step < self.iterations):  # the last one only looks
                    made = masks()
                    shown = (pixels * made[:, None]).contiguous(memory_format=torch.channels_last)
                    score = wanted.scores(self.classifier.logits(shown))[:, 0].float()
                better = ~(score.detach() <= most)  # so is NaN, which the map then shows
                best = torch.where(better[:, None, None], made.detach() + 0 * score.detach()[:, None, None], best)
                most = torch.where(better, score.detach(), most)
                if step < self.iterations:
                    descend(optimiser, -score.sum())
                    assert weights.grad is not None
                    heard |= weights.grad.abs().amax(1) > 0
        self.report = {"score": most}
        # Where no mask changes the answer, the first one says nothing of it.
        return torch.where((heard | most.isnan())[:, None, None], best, 0.0)
