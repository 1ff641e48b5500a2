"""One call of attention, and its weights on demand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.precision import HALVES

EXACT, HALF = 1e-5, 1e-2  # |A V - O|, relative to the largest |O| where that exceeds one


@dataclass(eq=False)
class AttentionCall:
    """O = softmax(scale q k^T + mask) v of N pictures and h heads, for q queries and T keys of width d.

    Attributes:
        layer: name of the step in which it happened; None outside of all.
        rows: N.
        output: O (N,h,q,d) or (N h,q,d), the tensor that gradients are taken by.
        value: v (N,h,T,d), without history.
        query, key: q and k, without history; None where only the weights were seen.
        given: A as the network itself computed it; None where a fused kernel did.
        mask: what is added to the logits of the softmax; None for nothing.
        scale: of these logits.
    """

    layer: str | None
    rows: int
    output: Tensor
    value: Tensor
    query: Tensor | None = None
    key: Tensor | None = None
    given: Tensor | None = None
    mask: Tensor | None = None
    scale: float = 1.0

    def heads(self, x: Tensor) -> Tensor:
        """(N,h,…) in float32 of a tensor of this call; some networks keep the heads in the first dimension."""
        x = x.detach().float()
        return x.unflatten(0, (self.rows, -1)) if x.ndim == 3 and len(x) % self.rows == 0 else x

    def weights(self) -> Tensor:
        """A (N,h,q,T) in float32, computed here where a fused kernel hid it."""
        if self.given is not None:
            return self.heads(self.given)
        assert self.query is not None and self.key is not None
        logits = self.heads(self.query) @ self.heads(self.key).transpose(-2, -1) * self.scale
        return (logits if self.mask is None else logits + self.mask.float()).softmax(-1)

    def slope(self, of_output: Tensor) -> Tensor:
        """dS/dA (N,h,q,T) = (dS/dO) V^T in float32, of dS/dO (N,h,q,d)."""
        return of_output @ self.heads(self.value).transpose(-2, -1)

    def check(self, classifier: str) -> None:
        """Is what was seen what the network computed?

        Raises:
            InputError: A V is not O.
        """
        seen, wanted = self.weights() @ self.heads(self.value), self.heads(self.output)
        half = self.output.dtype in HALVES
        bound = (HALF if half else EXACT) * max(1.0, float(wanted.abs().max()))
        if seen.shape != wanted.shape or not (seen - wanted).abs().max() <= bound:
            raise InputError(
                f"attention in layer {self.layer!r} of {classifier} is not what its queries, keys and values say "
                "(dropout that stays on, or a kernel of its own): build the network with its library's plain attention "
                '(attn_implementation="eager"), or take grad_cam'
            )


def output_slopes(scores: Tensor, calls: Sequence[AttentionCall]) -> Iterator[list[Tensor]]:
    """d sum_n scores[n,k] / dO (N,h,q,d) of each call, one k after another, through one shared forward."""
    with torch.enable_grad():
        sums = scores.sum(0).unbind()
    for k, total in enumerate(sums):
        outputs = [call.output for call in calls]
        found = torch.autograd.grad(total, outputs, retain_graph=k < len(sums) - 1, materialize_grads=True)
        yield [call.heads(slope) for call, slope in zip(calls, found, strict=True)]
