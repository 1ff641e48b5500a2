"""Class activation: what each place of the last activation says for a class, where averages of places decide."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.core.modes import eval_mode

SLACK = 1e-3  # of the terms' sum: what float32 sums, and TensorFloat-32 products, may be off


class ClassActivation:
    """sum_k w_k^c A_k with w the weights of the last linear layer (Zhou et al. 2016, Eq. 2).

    Where a 1x1 convolution gives the classes at each place and their average is the logit (Lin et al. 2014, section
    3.2; SqueezeNet), the activation behind it has a channel for each class, and A_c itself is the map.

    Args:
        classifier: a network that ends in global average pooling and one linear layer, or in a 1x1 convolution and
            average pooling.

    Raises:
        NoClassActivationError: its last layer is neither, or doesn't give the classes.
    """

    def __init__(self, classifier: Classifier) -> None:
        last = last_layer(classifier)
        if last is None:
            raise NoClassActivationError
        self.head = last

    def __call__(self, activation: Tensor, classes: Tensor) -> Tensor:
        """Maps (N,K,h,w) of the last activation (N,C,h,w) for classes (N,K).

        Raises:
            NoClassActivationError: the layer does not read this activation.
        """
        if self._is_of_classes(activation):
            rows = torch.arange(len(activation), device=activation.device)[:, None]
            return activation[rows, classes]
        weight = self._weight(activation)
        return torch.einsum("nkc,nchw->nkhw", weight[classes], activation.to(weight.dtype))

    def highest(self, activation: Tensor) -> Tensor:
        """(N,1): the peak of the map of the class that the network predicts, from the last activation (N,C,h,w)."""
        mean = activation.mean((2, 3))
        if not self._is_of_classes(activation):
            weight = self._weight(activation)
            mean = torch.nn.functional.linear(mean.to(weight.dtype), weight, self.head.bias)
        return self(activation, mean.argmax(1, keepdim=True)).amax((2, 3))

    def explains(self, activation: Tensor, logits: Tensor, classes: Tensor) -> bool:
        """Do the maps of an activation (N,C,h,w) average to the logits (N,L) of classes (N,K) less the bias?

        How far they may be off goes by the sizes of the terms that each sum adds up, which is what rounding goes by:
        the same for tiny logits and for large ones, and whatever else is in the batch. A bias, which may be far larger
        than what the picture adds to it, only counts with the rounding of the logit.

        Raises:
            NoClassActivationError: the layer does not read this activation.
        """
        kinds = (self.head.weight, activation, logits)
        seen, bias = activation.float(), self.head.bias
        given = logits.gather(1, classes).float()
        if self._is_of_classes(activation):
            of_class = self(seen, classes)
            gap, terms = of_class.mean((2, 3)) - given, of_class.abs().mean((2, 3))
        else:
            weight = self._weight(activation)[classes].float()
            offset = 0.0 if bias is None else bias[classes].float()
            gap = torch.einsum("nkc,nc->nk", weight, seen.mean((2, 3))) - (given - offset)
            terms = torch.einsum("nkc,nc->nk", weight.abs(), seen.abs().mean((2, 3)))
        step = max(torch.finfo(tensor.dtype).eps for tensor in kinds)  # half and bfloat16 round more coarsely
        return bool((gap.abs() <= max(SLACK, 2 * step) * terms + 4 * step * given.abs()).all())

    def _is_of_classes(self, activation: Tensor) -> bool:
        """Is there a channel for each class, rather than what the last layer makes classes of?"""
        reads, gives = self.head.weight.shape[1], self.head.weight.shape[0]
        return isinstance(self.head, nn.Conv2d) and activation.shape[1] == gives != reads

    def _weight(self, activation: Tensor) -> Tensor:
        weight: Tensor = self.head.weight.flatten(1)
        if weight.shape[1] != activation.shape[1]:
            raise NoClassActivationError
        return weight


def last_layer(classifier: Classifier) -> nn.Linear | nn.Conv2d | None:
    """The linear layer, or 1x1 convolution, that comes last in the network; None where it doesn't give the classes."""
    layers = [m for m in classifier.module.modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    last = layers[-1] if layers else None
    if last is None or last.weight.shape[0] != len(classifier.labels) or last.weight[0, 0].numel() != 1:
        return None
    return last


def has_class_activation(classifier: Classifier, layer: str) -> bool:
    """Does this layer's output, or its ReLU, average to the logits by the weights of the last layer or by itself?

    Asked of one picture of noise. Some networks apply a ReLU on the way.
    """
    draws = torch.Generator().manual_seed(0)
    picture = torch.rand(1, classifier.channels, *classifier.size, generator=draws).to(classifier.device)
    with torch.inference_mode(False), torch.no_grad(), eval_mode(classifier):
        with classifier.tapped([layer]) as seen:
            logits = classifier.logits(picture)
        classes = torch.arange(logits.shape[1], device=logits.device)[None]
        try:
            activation = ClassActivation(classifier)
            return any(activation.explains(a, logits, classes) for a in (seen[layer], seen[layer].relu()))
        except NoClassActivationError:
            return False


class NoClassActivationError(Exception):
    """The network has none."""
