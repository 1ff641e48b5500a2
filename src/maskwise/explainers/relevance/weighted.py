"""Relevance of layers with weights, of sums and means, and of the batch norm that follows a layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from maskwise.explainers.relevance.rule_base import RuleBase, call, channels, tracks
from maskwise.explainers.relevance.sums import Epsilon, Link, Pass


@dataclass
class _Last:
    """The last convolution or linear layer, in case a batch norm comes next."""

    out: Tensor
    version: int
    raw: Tensor
    x: Tensor
    weight: Tensor
    run: Callable[[Tensor, Tensor], Tensor]  # without bias
    bias: Tensor | None


class Weighted(RuleBase):
    """Convolution, linear, batch norm, addition, average.

    Attributes:
        final: the last convolution or linear layer that ran, the classifier's own; None if there was none.
    """

    final: Link | None = None
    _last: _Last | None = None

    def weighted(
        self,
        op: Any,
        dims: int,
        input: Tensor,
        weight: Tensor,
        bias: Any = None,
        *args: Any,
        folds: bool = True,
        **kw: Any,
    ) -> Any:
        if not tracks(input):
            return NotImplemented
        weight = weight.detach()
        bias = None if bias is None else bias.detach()
        link = Link(
            lambda x: op(x, weight, bias, *args, **kw),
            lambda x: op(x, weight.clamp(min=0), None, *args, **kw),
            lambda x: op(x, weight.clamp(max=0), None, *args, **kw),
            None if bias is None else channels(bias, dims),
        )
        self.final = link
        if isinstance(self.rule, Epsilon):
            raw = link.compute(input)
            out = self.stabilised(raw)
        else:
            raw = out = self.share(link, input)
        if folds and input.ndim == dims + 2:

            def run(x: Tensor, w: Tensor) -> Tensor:
                return op(x, w, None, *args, **kw)  # type: ignore[no-any-return]

            self._last = _Last(out, out._version, raw, input, weight, run, bias)
        return out

    def batch_norm(
        self,
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if not tracks(input):
            return NotImplemented
        if training or running_mean is None or running_var is None:  # the batch's statistics, as constants
            others = [d for d in range(input.ndim) if d != 1]
            running_var, running_mean = torch.var_mean(input.detach(), others, correction=0)
        scale = (running_var + eps).rsqrt() * (1 if weight is None else weight.detach())
        shift = (0 if bias is None else bias.detach()) - running_mean * scale
        dims, last = input.ndim - 2, self._last
        folded = last is not None and last.out is input and last.version == input._version

        def affine(x: Tensor) -> Tensor:
            return x * channels(scale, dims) + channels(shift, dims)

        if isinstance(self.rule, Epsilon):
            return self.stabilised(affine(last.raw if folded and last is not None else input))
        if not folded or last is None or self.rule.signed:
            return Pass.apply(input, affine)
        value, fused = input.detach(), last.weight * scale.reshape(-1, *[1] * (last.weight.ndim - 1))
        constant = shift if last.bias is None else shift + last.bias * scale
        run = last.run
        link = Link(
            lambda _: affine(value),
            lambda x: run(x, fused.clamp(min=0)),
            lambda x: run(x, fused.clamp(max=0)),
            channels(constant, dims),
        )
        return self.share(link, last.x)

    def summed(self, *terms: tuple[Any, float]) -> Any:
        if not any(tracks(x) for x, _ in terms):
            return NotImplemented
        inputs = [x for x, _ in terms if tracks(x)]
        factors = [f for x, f in terms if tracks(x)]
        constants = [x * f for x, f in terms if not tracks(x)]
        like = inputs[0]
        offset = sum(constants)
        bias = torch.as_tensor(offset, device=like.device).detach()
        bias = bias.to(like.dtype) if not bias.is_floating_point() or bias.ndim == 0 else bias
        shape = torch.broadcast_shapes(bias.shape, *(x.shape for x in inputs))

        def add(signs: Sequence[float], xs: Sequence[Tensor]) -> Tensor:
            parts = [x if sign == 1 else sign * x for sign, x in zip(signs, xs, strict=True) if sign]
            total = sum(parts[1:], parts[0]) if parts else torch.zeros((), dtype=like.dtype, device=like.device)
            return total.expand(shape)

        negative = min(factors) < 0
        link = Link(
            lambda *xs: add(factors, xs) + bias if constants else add(factors, xs),
            lambda *xs: add([max(f, 0) for f in factors], xs),
            (lambda *xs: add([min(f, 0) for f in factors], xs)) if negative else None,
            bias if constants else None,
            copies=True,
        )
        return self.share(link, *inputs)

    def averaged(self, op: Any, input: Any, *args: Any, **kw: Any) -> Any:
        if not tracks(input):
            return NotImplemented
        compute = partial(call, op, args, kw)
        return self.share(Link(compute, compute, copies=True), input)
