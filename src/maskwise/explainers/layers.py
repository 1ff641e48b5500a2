"""Activations of one layer and the gradients that reach it: what all class activation methods begin with."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.taps import as_grid, tapped
from maskwise.core.modes import eval_mode
from maskwise.explainers.base import Explainer, gradients
from maskwise.explainers.targets import Targets


class LayerExplainer(Explainer):
    """A method that reads one layer.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the classifier's last tap. Where tokens beside the grid (a class token)
            carry the answer, the grid of the last block no longer reaches it, and the tap before is taken.

    Raises:
        InputError: no such layer, or one without a spatial grid.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None) -> None:
        super().__init__(classifier)
        # A sequential network's layers are numbers, and so they arrive from a command line.
        self.layer = _last_that_answers(classifier) if layer is None else str(layer)
        with tapped(classifier.module, [self.layer]):
            pass  # only to name an unknown layer now rather than at the first picture

    def activation(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (N,C) and the layer's output as it is; ``grid`` makes it (N,c,h,w)."""
        with tapped(self.classifier.module, [self.layer], leaf=True) as seen:
            logits = self.classifier.logits(images)
        return logits, seen[self.layer]

    def with_gradients(self, images: Tensor, targets: Targets) -> tuple[Tensor, list[Tensor], Tensor]:
        """Activation (N,c,h,w), for each target d logit / d activation, and the logits (N,C)."""
        with torch.enable_grad():
            logits, output = self.activation(images)
            by_target = [grid(g.detach()) for g in gradients(targets.scores(logits), output)]
            return grid(output.detach()), by_target, logits.detach()


def grid(output: Tensor) -> Tensor:
    """(N,c,h,w) of a layer's output, or of its gradient, which ``tapped`` found to have a grid."""
    seen = as_grid(output)
    assert seen is not None
    return seen


def _last_that_answers(classifier: Classifier) -> str:
    last = classifier.tap_names[-1]
    if len(classifier.tap_names) == 1:
        return last
    side = classifier.input_size
    with torch.no_grad(), eval_mode(classifier), tapped(classifier.module, [last], leaf=True) as seen:
        classifier.logits(torch.zeros(1, 3, side, side, device=classifier.device))
    output = seen[last]
    beside = output.ndim == 3 and output.shape[1] > grid(output)[0, 0].numel()
    return classifier.tap_names[-2] if beside else last


def weighted(weights: Tensor, activation: Tensor) -> Tensor:
    """ReLU(sum_k w_k A_k) (N,h,w) of weights (N,c) or (N,c,h,w)."""
    shaped = weights if weights.ndim == 4 else weights[:, :, None, None]
    return torch.relu((shaped * activation).sum(1))
