"""The rules of all operations together, and a forward of a network under them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.unseen import refuse_unseen
from maskwise.core.errors import InputError
from maskwise.core.modes import without_backward_hooks
from maskwise.explainers.backward_rules import Handler, out_of_place
from maskwise.explainers.relevance.attention import Attention
from maskwise.explainers.relevance.norms import Norms
from maskwise.explainers.relevance.products import Products
from maskwise.explainers.relevance.sums import Epsilon, Link, Signed
from maskwise.explainers.targets import Targets

CONVOLUTIONS = ("conv1d", "conv2d", "conv3d")
TRANSPOSED = ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
AVERAGES = (
    "avg_pool1d", "avg_pool2d", "avg_pool3d", "adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d",
    "mean", "sum",
)  # fmt: skip
POINTWISE = (
    "gelu", "silu", "mish", "hardswish", "elu", "selu", "celu", "leaky_relu", "prelu", "softplus", "clamp", "clamp_min",
    "pow", "square", "sqrt", "abs", "local_response_norm", "normalize",
)  # fmt: skip
GATES = ("sigmoid", "hardsigmoid", "tanh", "relu6", "hardtanh")
VIEWS = (
    "expand",
    "expand_as",
    "view",
    "reshape",
    "unsqueeze",
    "squeeze",
    "permute",
    "transpose",
    "flatten",
    "__getitem__",
)


class RelevanceRules(Norms, Products, Attention):
    """While open, gradients are relevance signals under ``rule``."""

    def __init__(self, rule: Epsilon | Signed) -> None:
        handlers: dict[str, Handler] = {
            "linear": partial(self.weighted, F.linear, 0),
            "batch_norm": self.batch_norm,
            "layer_norm": self.layer_norm,
            "group_norm": self.group_norm,
            "instance_norm": self.instance_norm,
            "rms_norm": self.rms_norm,
            "add": lambda input, other, alpha=1: self.summed((input, 1), (other, alpha)),
            "sub": lambda input, other, alpha=1: self.summed((input, 1), (other, -alpha)),
            "rsub": lambda input, other, alpha=1: self.summed((other, 1), (input, -alpha)),
            "mul": self.product,
            "div": self.quotient,
            "matmul": partial(self.bilinear, torch.matmul),
            "rmatmul": lambda input, other: self.bilinear(torch.matmul, other, input),
            "bmm": partial(self.bilinear, torch.bmm),
            "mm": partial(self.bilinear, torch.mm),
            "einsum": self.einsum,
            "softmax": self.softmax,
            "scaled_dot_product_attention": self.attention,
            "multi_head_attention_forward": self.multi_head_attention,
        }
        for d, name in enumerate(CONVOLUTIONS, 1):
            handlers[name] = partial(self.weighted, out_of_place(name), d)
        for d, name in enumerate(TRANSPOSED, 1):
            handlers[name] = partial(self.weighted, out_of_place(name), d, folds=False)
        handlers |= {name: partial(self.averaged, out_of_place(name)) for name in AVERAGES}
        handlers |= {name: partial(self.pointwise, out_of_place(name)) for name in POINTWISE}
        handlers |= {name: partial(self.gate, out_of_place(name)) for name in GATES}
        handlers |= {name.strip("_"): partial(self.viewed, name) for name in VIEWS}
        super().__init__(rule, handlers)

    def forget(self) -> None:
        """Lets go of the pass: the handlers are this object's own methods, so it is freed late, with all it holds."""
        self.final, self._last = None, None
        self._gates.clear()


def run(
    rule: Epsilon | Signed,
    classifier: Classifier,
    inputs: Tensor,
    method: str,
    instead: str = "use gradient or integrated_gradients",
) -> tuple[Tensor, Link]:
    """Logits (N,C) of normalised pictures, recorded under the rule, and the classifier's own layer.

    Args:
        rule: of weighted sums.
        classifier: whose logits.
        inputs: (N,3,H,W), normalised.
        method: who asks, for messages.
        instead: what they say to do.

    Raises:
        InputError: a network of which nothing can be seen, or whose answer is no logit or not finite.
    """
    with RelevanceRules(rule) as rules, without_backward_hooks(classifier.module):
        logits = classifier.network(inputs)
    final = rules.final
    rules.forget()
    if final is None or not logits.requires_grad:
        raise InputError(
            f"{method} finds no way from the answer of {classifier.name} to its layers: it must give logits (no "
            f"softmax), with gradients (no torch.no_grad), and be neither scripted nor compiled; {instead}"
        )
    refuse_unseen(classifier.module, method, classifier.name, instead)
    if not logits.isfinite().all():
        raise InputError(f"the answer of {classifier.name} holds NaN or infinity")
    return logits, final


def slopes(targets: Targets, logits: Tensor) -> Iterator[Tensor]:
    """d goal_k / d logits (N,C), one k after another: a one in the place of each class."""
    leaf = logits.detach().requires_grad_(True)
    wanted = targets.scores(leaf)
    for k in range(wanted.shape[1]):
        yield torch.autograd.grad(wanted[:, k].sum(), leaf, retain_graph=True)[0]
