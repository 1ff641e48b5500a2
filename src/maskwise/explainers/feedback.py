"""Feedback: hidden neurons that do not help the class are closed, then the picture's gradient is taken."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import inf
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import ranges
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.optimised import learning, steps
from maskwise.explainers.targets import Targets

# By name, since one activation is reached in several ways: nn.ReLU, F.relu, torch.relu, Tensor.relu_, ...
ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "prelu", "rrelu", "elu", "celu", "selu", "gelu", "silu", "mish", "softplus",
    "hardswish", "hardtanh", "tanh",
)  # fmt: skip


@methods.register(
    "feedback",
    family="perturbation",
    paper="Cao et al. 2015",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="21 forwards and backwards",
)
class Feedback(Explainer):
    """Gates z in [0,1] on the outputs of all hidden activations, by projected gradient ascent from z = 1 on

        logit_c(x, z) - penalty * sum_l c_l |z_l|_1        (Cao et al. 2015, Eq. 8, with its linear relaxation)

    The map is max over colours of |d logit_c / d pixel| with the gates reached. ``report["open"]`` is the mean gate.

    The paper gates ReLUs; here every usual activation function (GELU, SiLU, Hardswish, ...) is gated, so that networks
    without ReLU have a map too. The paper gives neither rate nor penalty that would fit any network, so both are
    relative (our choice): c_l is the mean of |d logit / d z| in layer l while all gates are open, and steps in that
    layer are divided by it. Without a penalty the neurons that speak against the class are still closed; with
    ``iterations=0`` the map is the plain gradient.

    Args:
        classifier: what is explained.
        iterations: of the ascent (our choice).
        rate: of a step (our choice).
        penalty: on open gates (our choice).

    Raises:
        InputError: an option outside its range, or a network in which no activation function is called.
    """

    def __init__(self, classifier: Classifier, iterations: int = 20, rate: float = 0.5, penalty: float = 0.1) -> None:
        super().__init__(classifier)
        ranges(iterations=(iterations, 0, inf), rate=(rate, 0, inf), penalty=(penalty, 0, inf))
        self.iterations, self.rate, self.penalty = iterations, rate, penalty

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        with learning(self, images, self.resolve(images, targets)) as (pixels, wanted):
            gates: list[Tensor] = []
            costs: list[Tensor] = []
            pixels.requires_grad_(True)  # so that the frozen network records its forward
            for _ in steps(self, self.iterations):
                slopes = torch.autograd.grad(self.logit(pixels, wanted, gates), gates, materialize_grads=True)
                # Windows of one picture lie together as rows of an activation: (N,-1) are the pictures again.
                slopes = tuple(slope.reshape(len(pixels), -1) for slope in slopes)
                costs = costs or [slope.abs().mean(1, keepdim=True) for slope in slopes]
                with torch.no_grad():
                    for gate, slope, cost in zip(gates, slopes, costs, strict=True):
                        scale = torch.where(cost > 0, cost, 1)
                        # A layer that the class does not reach (cost 0) has a slope and a penalty of zero.
                        change = self.rate * (slope / scale - self.penalty * (cost > 0))
                        gate.add_(change.reshape(gate.shape)).clamp_(0, 1)
            (slope,) = torch.autograd.grad(self.logit(pixels, wanted, gates), pixels)
        by_picture = [gate.detach().reshape(len(images), -1) for gate in gates]
        self.report = {"open": torch.cat(by_picture, 1).mean(1)}
        return slope.abs().amax(1)

    def logit(self, images: Tensor, targets: Targets, gates: list[Tensor]) -> Tensor:
        """Sum of the targets' logits with the gates on; an empty list is filled with open ones."""
        with Gating(gates):
            wanted = targets.scores(self.classifier.logits(images)).sum()
        if not gates:
            raise InputError(f"feedback needs hidden activations (ReLU, GELU, ...); {self.classifier.name} calls none")
        return wanted


class Gating(TorchFunctionMode):
    """While open, the output of the i-th activation that a forward calls is multiplied by the i-th gate.

    A mode rather than hooks: it also sees activations that are functions, and it cannot stay behind.

    Args:
        gates: in the order of the calls; an empty list is filled by the first forward, with ones.
    """

    def __init__(self, gates: list[Tensor]) -> None:
        super().__init__()
        self.gates, self.filling, self.calls = gates, not gates, 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        if getattr(func, "__name__", "").rstrip("_") not in ACTIVATIONS or not isinstance(output, Tensor):
            return output
        if not output.requires_grad:  # a table of position biases, say: no picture's
            return output
        if self.filling:
            self.gates.append(torch.ones_like(output, dtype=torch.float32).requires_grad_(True))
        gate = self.gates[self.calls]
        self.calls += 1
        return output * gate.to(output.dtype)
