"""What all rules of relevance stand on: the method's own rule for a weighted sum."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from maskwise.core.precision import HALVES
from maskwise.explainers.backward_rules import BackwardRules, Handler, spelling
from maskwise.explainers.relevance.sums import Epsilon, Link, Share, Signed, Stabilise


class RuleBase(BackwardRules):
    """While open, operations go through ``handlers``; weighted sums among them hand relevance on by ``rule``."""

    def __init__(self, rule: Epsilon | Signed, handlers: dict[str, Handler]) -> None:
        super().__init__(handlers)
        self.rule = rule

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """As ever; in float32 where the network has an autocast of its own, which its backward would be outside of."""
        kind = next((x.device.type for x in args if isinstance(x, Tensor)), None)
        if kind is None or not torch.is_autocast_enabled(kind):
            return super().__torch_function__(func, types, args, kwargs)
        with torch.autocast(kind, enabled=False):
            wide = args if spelling(func)[1] else tuple(_widened(x) for x in args)
            return super().__torch_function__(func, types, wide, kwargs)

    def share(self, link: Link, *inputs: Tensor) -> Tensor:
        """The result of a weighted sum of ``inputs``, which all carry relevance."""
        if isinstance(self.rule, Epsilon):
            return self.stabilised(link.compute(*inputs))
        return Share.apply(self.rule, link, *inputs)  # type: ignore[no-any-return]

    def stabilised(self, y: Tensor) -> Tensor:
        assert isinstance(self.rule, Epsilon)
        if self.rule.epsilon == 0:  # nothing is damped, not even where y is zero: its gradient is what is wanted
            return y
        return Stabilise.apply(y, self.rule)  # type: ignore[no-any-return]


def _widened(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.dtype in HALVES else x


def tracks(x: Any) -> bool:
    """Does ``x`` carry relevance?"""
    return isinstance(x, Tensor) and x.requires_grad and torch.is_grad_enabled()


def call(op: Any, args: Any, kw: Any, x: Tensor) -> Tensor:
    return op(x, *args, **kw)  # type: ignore[no-any-return]


def channels(values: Tensor, dims: int) -> Tensor:
    """(C,) as (C,1,...,1) before ``dims`` spatial dimensions."""
    return values.reshape(-1, *[1] * dims)
