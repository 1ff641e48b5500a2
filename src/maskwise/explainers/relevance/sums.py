"""How one operation hands relevance on: the epsilon and alpha-beta rules, and the pass-through.

Relevance R of a tensor a is kept as a signal s with R = a * s (``maskwise.explainers.relevance`` says why).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

TINY = 1e-20  # sums below it hand nothing on


@dataclass(frozen=True)
class Epsilon:
    """R_i = sum_j x_i w_ij R_j / (z_j + epsilon sign(z_j)), z_j = sum_i x_i w_ij + b_j (Bach et al. 2015, Eq. 58).

    Attributes:
        epsilon: zero leaves signals as they are, which makes them gradients but for the rules of other operations.
        relative: epsilon is in units of the root mean square of z over a picture (over a token, for tokens).
        softmax_gradient: attention's softmax hands relevance on by its gradient, x_i (R_i - s_i sum_j R_j), to queries
            and keys, and each factor of a product gets half (Achtibat et al. 2024), in place of being a constant.
    """

    epsilon: float
    relative: bool = False
    softmax_gradient: bool = False

    def share(self, z: Tensor) -> Tensor:
        """|z| / (|z| + epsilon): the part of relevance that is handed on."""
        epsilon: float | Tensor = self.epsilon
        if self.relative:
            # Tokens one by one: some networks keep them, rather than the pictures, in the first dimension.
            dims = -1 if z.ndim < 4 else tuple(range(1, z.ndim))
            epsilon = epsilon * z.square().mean(dims, keepdim=True).sqrt()
        return _divide(z.abs(), z.abs() + epsilon)


@dataclass(frozen=True)
class Signed:
    """R_i = sum_j (alpha (x_i w_ij)+ / z_j+ - beta (x_i w_ij)- / z_j-) R_j, z+ and z- with b+ and b- (Eq. 60).

    Where all contributions are positive, R_j is shared among them whole: otherwise each sum of positive numbers, a
    pooling say, would multiply relevance by alpha.

    Attributes:
        excitatory: only positive inputs through positive weights count, and no bias (Zhang et al. 2016).
        signed: of an excitatory rule as TorchRay has it: inputs keep their sign, so that additions and averages share
            in proportion to signed values, and batch norm passes each element's relevance through instead of being
            folded, which differs where its scale is negative. For inputs of both signs this is no probability any more.
    """

    alpha: float = 1.0
    beta: float = 0.0
    excitatory: bool = False
    signed: bool = False


@dataclass
class Link:
    """One weighted sum of tensors.

    Attributes:
        compute: the operation.
        positive, negative: the same with only the positive or the negative weights, and no bias; None for no weights.
        bias: broadcastable to the result.
        copies: keep copies of the inputs, for operations after which networks may overwrite them.
        negated: propagate as if all weights had the other sign.
    """

    compute: Callable[..., Tensor]
    positive: Callable[..., Tensor]
    negative: Callable[..., Tensor] | None = None
    bias: Tensor | None = None
    copies: bool = False
    negated: bool = False


class Stabilise(torch.autograd.Function):
    """y, whose signal is damped by y / (y + epsilon sign y): all that the epsilon rule adds to a gradient."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, rule: Epsilon) -> Tensor:
        ctx.save_for_backward(rule.share(y))
        return y.clone()

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0] * ctx.saved_tensors[0], None


class Pass(torch.autograd.Function):
    """y = f(x) of one shape whose relevance passes through element by element: the signal times y / x."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
        y = compute(x)
        ctx.save_for_backward(_divide(y, x))
        return y

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor, None]:
        return signals[0] * ctx.saved_tensors[0], None


class Share(torch.autograd.Function):
    """A weighted sum whose relevance is shared by the rule ``Signed``."""

    @staticmethod
    def forward(ctx: Any, rule: Signed, link: Link, *inputs: Tensor) -> Tensor:
        y = link.compute(*inputs)
        # Copies of y: a ReLU in place is likely to come next.
        ctx.save_for_backward(y.clone(), *(x.clone() if link.copies else x for x in inputs))
        ctx.rule, ctx.link = rule, link
        return y.clone() if y._is_view() else y  # a view could not be overwritten

    @staticmethod
    def backward(ctx: Any, *signals: Tensor) -> tuple[Tensor | None, ...]:
        y, *inputs = ctx.saved_tensors
        with torch.enable_grad():
            ups = [x.detach().clamp(min=0).requires_grad_(True) for x in inputs]
            downs = [x.detach().clamp(max=0).requires_grad_(True) for x in inputs]
            shared = [pair for pair in _shares(ctx.rule, ctx.link, ups, downs, signals[0] * y) if pair[0].requires_grad]
        if not shared:
            return (None, None, *map(torch.zeros_like, inputs))
        found = torch.autograd.grad(
            [z for z, _ in shared], [*ups, *downs], [s.detach() for _, s in shared], allow_unused=True
        )
        up, down = found[: len(inputs)], found[len(inputs) :]
        back = []
        for x, u, d in zip(inputs, up, down, strict=True):
            signal = torch.zeros_like(x) if u is None else torch.where(x > 0, u, 0)
            back.append(signal if d is None else torch.where(x < 0, d, signal))
        return (None, None, *back)


def _shares(
    rule: Signed, link: Link, ups: Sequence[Tensor], downs: Sequence[Tensor], relevance: Tensor
) -> list[tuple[Tensor, Tensor]]:
    """(z, signal to send through it) of the sum z+ of all that speaks for the result, and of z- against it."""
    pos: Callable[..., Tensor | None] = link.positive
    neg: Callable[..., Tensor | None] = link.negative or (lambda *_: None)
    if link.negated:
        pos, neg = _opposite(neg), _opposite(pos)
    if rule.excitatory:
        z = pos(*(u + d for u, d in zip(ups, downs, strict=True))) if rule.signed else pos(*ups)
        return [] if z is None else [(z, _divide(relevance, z))]
    bias = torch.zeros((), dtype=relevance.dtype, device=relevance.device) if link.bias is None else link.bias
    bias = -bias if link.negated else bias
    plus = _total(relevance, pos(*ups), neg(*downs), bias.clamp(min=0))
    minus = _total(relevance, pos(*downs), neg(*ups), bias.clamp(max=0))
    # A side that stands alone takes all of the relevance.
    alpha = torch.where(minus < -TINY, rule.alpha, 1.0)
    beta = torch.where(plus > TINY, -rule.beta, 1.0 if rule.beta else 0.0)
    return [(plus, alpha * _divide(relevance, plus)), (minus, beta * _divide(relevance, minus))]


def _opposite(weights: Callable[..., Tensor | None]) -> Callable[..., Tensor | None]:
    def apply(*inputs: Tensor) -> Tensor | None:
        z = weights(*inputs)
        return None if z is None else -z

    return apply


def _total(like: Tensor, *addends: Tensor | None) -> Tensor:
    total = torch.zeros_like(like)
    for addend in addends:
        if addend is not None:
            total = total + addend
    return total


def _divide(a: Tensor, b: Tensor) -> Tensor:
    """a / b, and zero where b is next to nothing."""
    safe = b.abs() > TINY
    return torch.where(safe, a, 0) / torch.where(safe, b, 1)
