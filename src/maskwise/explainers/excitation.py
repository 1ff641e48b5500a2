"""Excitation backpropagation: how likely a top-down walk along excitatory connections visits each unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.answering import MeasuredLayer
from maskwise.classifiers.taps import layer_of
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.options import one_of
from maskwise.core.own_thread import in_this_thread
from maskwise.explainers.base import methods, recording
from maskwise.explainers.layers import LayerChoice, LayerExplainer
from maskwise.explainers.relevance import run, slopes
from maskwise.explainers.relevance.sums import Signed
from maskwise.explainers.targets import Targets

Variant = Literal["paper", "torchray"]


@methods.register(
    "excitation_backprop",
    family="excitation",
    paper="Zhang et al. 2016",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 2 forwards and 1 backward of the layers above the map's",
)
class ExcitationBackprop(LayerExplainer):
    """Sum over channels of the marginal winning probability P at a layer (Zhang et al. 2016).

    P of the target is one. Convolutions, linear layers, pooling and residual additions hand P on as
    P_i = sum_j x_i w_ij+ P_j / sum_k x_k w_kj+, without biases; other operations pass it through (``relevance.py``).
    P sums to one at every layer, less what units hold that nothing excites.

    The paper asks for activations that are not negative. Where they are (ViT, ConvNeXt, the branches of a residual
    network), negative inputs count as zero, so that P reaches only positive activations and stays a probability.
    What stays with a class token belongs to no place and is left out; contrastive maps of such networks can be empty.
    All of it runs in float32, whatever ``precision`` says, since P divides by activations.

    Args:
        classifier: what is explained.
        layer: whose P is the map; None is the classifier's last tap but one, or the last where there is only one.
            Not a convolution that feeds a batch norm: take the batch norm or what follows it.
        contrastive: P minus P of the dual unit, whose weights in the classifier's final linear or convolution layer
            are negated, positive part (section 3.3 of the paper).
        variant: ``paper`` is as above: batch norm is part of the layer before it, and of a residual addition's terms
            only positive ones get P. ``torchray`` is how the published ResNet rows of that library (Fong et al. 2019)
            were made: the terms of an addition get P in proportion to their signed values, so that P may be negative
            and exceed one, and batch norm hands P through element by element, which differs where its scale is
            negative. Without skips and batch norm (VGG) the two agree.

    Raises:
        InputError: no such layer, or one that P does not reach; a network whose layers cannot be seen; or an unknown
            variant.
    """

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        contrastive: bool = False,
        variant: Variant = "paper",
    ) -> None:
        super().__init__(classifier, layer)
        one_of("variant", variant, ("paper", "torchray"))
        self.contrastive, self.variant = contrastive, variant
        self.cut = carries_all(classifier, self.layer)  # then what comes before it need not be recorded

    @classmethod
    def usual_layer(cls, classifier: Classifier, layers: Sequence[MeasuredLayer] | None = None) -> str:
        """The last tap but one, where the network is still sharp enough for an outline."""
        return classifier.tap_names[-2:][0]

    @classmethod
    def chosen(cls, classifier: Classifier, layers: Sequence[MeasuredLayer]) -> LayerChoice:
        why = "the last tap but one" if len(classifier.tap_names) > 1 else "the only tap"
        return LayerChoice((cls.usual_layer(classifier, layers),), why)

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with (
            torch.enable_grad() if self.cut else recording(images) as recorded,
            torch.autocast(images.device.type, enabled=False),
            self.classifier.tapped([self.layer], leaf=self.cut, raw=True) as seen,
        ):
            pixels = images if recorded is None else recorded
            rule = Signed(excitatory=True, signed=self.variant == "torchray")
            logits, final = run(rule, self.classifier, self.classifier.normalise(pixels), "excitation_backprop")
            activation = seen.get(self.layer)
            maps = []
            for slope in slopes(targets, logits):
                start = _distribution(slope, logits.detach())
                probability = self._at_layer(logits, activation, start)
                if self.contrastive:
                    final.negated = True
                    probability = probability - self._at_layer(logits, activation, start)
                    final.negated = False
                maps.append(probability.relu())
            return torch.stack(maps, 1)

    def _at_layer(self, logits: Tensor, activation: Tensor | None, start: Tensor) -> Tensor:
        """Sum over channels of P at the layer (N,h,w)."""
        found = None
        if activation is not None and activation.requires_grad:
            (found,) = torch.autograd.grad(logits, activation, start, retain_graph=True, allow_unused=True)
        if activation is None or found is None:
            raise InputError(
                f"no probability reaches layer {self.layer!r}: it lies off the way to the answer, in a gate, or "
                "is folded into the batch norm after it; choose another layer"
            )
        return self.grid(found * activation.detach()).sum(1)


@methods.register(
    "contrastive_excitation_backprop",
    family="excitation",
    paper="Zhang et al. 2016",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 4 forwards and 2 backwards of the layers above the map's",
)
class ContrastiveExcitationBackprop(ExcitationBackprop):
    """``excitation_backprop`` with ``contrastive``: what excites the target more than its negation."""

    def __init__(self, classifier: Classifier, layer: str | None = None, variant: Variant = "paper") -> None:
        super().__init__(classifier, layer, contrastive=True, variant=variant)


def _distribution(slope: Tensor, logits: Tensor) -> Tensor:
    """The signal of a first P in proportion to how the target rises with each logit: one for a class.

    A signal is P / value (``relevance.py``); a logit of exactly zero says nothing and gives an empty map.
    """
    rises = slope.clamp(min=0)
    prior = rises / rises.sum(1, keepdim=True).clamp(min=1e-20)
    usable = logits.abs() > 1e-20
    return torch.where(usable, prior, 0) / torch.where(usable, logits, 1)


def carries_all(classifier: Classifier, layer: str) -> bool:
    """Does all that the network knows of a picture pass through this layer, once?

    Of two pictures the second gets what the first gave there: if the answers then are equal, nothing went around it.
    A convolution or linear layer is never said to, since a batch norm after it is told by the very tensor it gives.
    """
    module, _ = layer_of(classifier.module, layer)
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        return False
    calls = []

    def swap(_: nn.Module, __: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            return None
        calls.append(layer)
        return output[:1].expand_as(output).clone()

    draws = torch.Generator().manual_seed(0)
    pictures = torch.rand(2, classifier.channels, *classifier.size, generator=draws).to(classifier.device)
    handle = module.register_forward_hook(in_this_thread(swap))
    try:
        with torch.inference_mode(False), torch.no_grad(), eval_mode(classifier):
            logits = classifier.logits(pictures)
    finally:
        handle.remove()
    return len(calls) == 1 and bool((logits[0] - logits[1]).abs().max() <= 1e-6 * logits.abs().max())
