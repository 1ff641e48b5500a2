"""Relevance of products: all goes to the signal and none to the gate; and of the functions that make gates."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor

from maskwise.explainers.backward_rules import Handler
from maskwise.explainers.relevance.rule_base import RuleBase, call, tracks
from maskwise.explainers.relevance.sums import Epsilon, Link, Pass, Signed


class Products(RuleBase):
    """Products, quotients, matrix products, pointwise functions, and which tensors are gates."""

    def __init__(self, rule: Epsilon | Signed, handlers: dict[str, Handler]) -> None:
        super().__init__(rule, handlers)
        self._gates: dict[int, tuple[Tensor, int]] = {}

    def product(self, input: Any, other: Any) -> Any:
        if not (tracks(input) and tracks(other)):
            if not (tracks(input) or tracks(other)):
                return NotImplemented
            return self._as(input if tracks(input) else other, torch.mul(input, other))
        gates = self._gates_of(input), self._gates_of(other)
        if gates[0] != gates[1]:
            gated = gates[0]
        elif input.numel() != other.numel():
            gated = input.numel() < other.numel()
        else:
            return 0.5 * (input * other.detach()) + 0.5 * (input.detach() * other)
        return input.detach() * other if gated else input * other.detach()

    def quotient(self, input: Any, other: Any, rounding_mode: str | None = None) -> Any:
        if rounding_mode is not None or not tracks(input):
            return NotImplemented
        return self._as(input, torch.div(input, other.detach() if isinstance(other, Tensor) else other))

    def bilinear(self, op: Any, input: Any, other: Any) -> Any:
        """A product of matrices: linear in the factor that carries relevance; of two such each gets half."""
        if not (tracks(input) or tracks(other)):
            return NotImplemented

        def left(weight: Tensor) -> Link:
            return Link(
                lambda x: op(x, weight), lambda x: op(x, weight.clamp(min=0)), lambda x: op(x, weight.clamp(max=0))
            )

        def right(weight: Tensor) -> Link:
            return Link(
                lambda x: op(weight, x), lambda x: op(weight.clamp(min=0), x), lambda x: op(weight.clamp(max=0), x)
            )

        if not tracks(other):
            return self.share(left(other), input)
        if not tracks(input):
            return self.share(right(input), other)
        return 0.5 * self.share(left(other.detach()), input) + 0.5 * self.share(right(input.detach()), other)

    def einsum(self, equation: Any, *operands: Any) -> Any:
        if not isinstance(equation, str) or len(operands) != 2:
            return NotImplemented
        return self.bilinear(partial(torch.einsum, equation), *operands)

    def pointwise(self, op: Any, input: Any, *args: Any, **kw: Any) -> Any:
        return Pass.apply(input, partial(call, op, args, kw)) if tracks(input) else NotImplemented

    def gate(self, op: Any, input: Any, *args: Any, **kw: Any) -> Any:
        result = self.pointwise(op, input, *args, **kw)
        return result if result is NotImplemented else self._mark(result)

    def viewed(self, name: str, input: Any, *args: Any, **kw: Any) -> Any:
        if not self._gates_of(input):
            return NotImplemented
        return self._mark(getattr(input, name)(*args, **kw))

    def _mark(self, gate: Tensor) -> Tensor:
        self._gates[id(gate)] = (gate, gate._version)  # held, so that the id stays its own
        return gate

    def _gates_of(self, x: Any) -> bool:
        held = self._gates.get(id(x))
        return held is not None and held[0] is x and held[1] == x._version

    def _as(self, source: Tensor, result: Tensor) -> Tensor:
        """A gate times a constant is a gate."""
        return self._mark(result) if self._gates_of(source) else result
