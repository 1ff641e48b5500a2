"""CAM itself, for networks that end in global average pooling and one linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.classifiers.class_activation import ClassActivation, NoClassActivationError, has_class_activation
from maskwise.core.errors import InputError
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerChoice, LayerExplainer
from maskwise.explainers.targets import Targets


@methods.register(
    "cam",
    family="class activation",
    paper="Zhou et al. 2016",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 forward",
)
class Cam(LayerExplainer):
    """sum_k w_k^c A_k with w the weights of the last linear layer (Zhou et al. 2016, Eq. 2).

    The head is not guessed from names: the mean of the map plus the bias must be the logit, which is checked on
    the pictures themselves, for A as the layer gives it and for ReLU(A), which some networks apply on the way.

    Raises:
        InputError: the network does not end in average pooling and one linear layer, or the target is a score
            function; grad_cam works there.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None) -> None:
        super().__init__(classifier, layer)
        try:
            self.class_activation = ClassActivation(classifier)
        except NoClassActivationError:
            raise _no_cam(classifier, self.layer) from None

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        choice = super().chosen(classifier, layers)
        if not has_class_activation(classifier, choice.layers[0]):
            raise _no_cam(classifier, choice.layers[0])
        return choice

    @property
    def map_is_free(self) -> bool:
        return True

    def saliency_and_logits(self, images: Tensor, targets: Targets) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            logits, output = self.activation(images)
            activation = self.grid(output)
            classes = targets.resolved(logits).classes
            if classes is None:
                raise InputError("cam explains classes, not a score function: grad_cam does")
            try:
                for seen in (activation, activation.relu()):
                    if self.class_activation.explains(seen, logits, classes):
                        return self.class_activation(seen, classes), logits
            except NoClassActivationError:
                pass
        raise _no_cam(self.classifier, self.layer)


def _no_cam(classifier: Classifier, layer: str) -> InputError:
    return InputError(
        f"cam needs a network that ends in average pooling and one linear layer behind {layer!r}, and "
        f"{classifier.name} does not: use grad_cam, which is the same where cam exists"
    )
