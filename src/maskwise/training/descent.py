"""One optimiser's step from the gradients of parts of a batch: over micro-batches, processes and float16's scaling."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any, cast

import torch
from lightning.fabric import Fabric
from torch import Tensor, nn

from maskwise.training.share import Part


class Descent:
    """Adds up gradients, here and over processes, and steps.

    Gradients are asked for with ``torch.autograd.grad``, so that one graph can serve two networks; DDP's hooks, which
    see ``backward`` alone, have no part in it, and what they would do is done here: one all-reduce of one flat tensor.

    Args:
        optimiser: of ``weights``.
        weights: in the order of the gradients.
        fabric: processes and precision. With ``16-mixed`` losses are scaled, and a step with an overflow is left out.
        clip: norm of the whole gradient; None leaves it.
        some: may some of the weights have no part in the loss?
    """

    def __init__(
        self,
        optimiser: torch.optim.Optimizer,
        weights: Sequence[nn.Parameter],
        fabric: Fabric,
        clip: float | None = None,
        some: bool = False,
    ) -> None:
        self.optimiser, self.weights, self.fabric, self.clip, self.some = optimiser, list(weights), fabric, clip, some
        half = getattr(fabric.strategy.precision, "precision", "") == "16-mixed"
        self.scaler = torch.amp.GradScaler(fabric.device.type, enabled=half)
        self.sums: list[Tensor | None] | None = None
        self.pieces: Container[nn.Parameter] = ()  # weights of which each process has a part, as of the gradient's sum

    def add(self, loss: Tensor, part: Part, keep_graph: bool = False) -> None:
        """The part's share of the gradient of a loss that is a mean over pictures."""
        # Weighed before the backward: synchronised batch norm adds up gradients of all processes inside of it.
        loss = loss if part.weight == 1 else loss * part.weight
        gradients = torch.autograd.grad(
            self.scaler.scale(loss), self.weights, retain_graph=keep_graph, allow_unused=self.some
        )
        if self.sums is None:
            self.sums = list(gradients)
            return
        for total, gradient in zip(self.sums, gradients, strict=True):
            if total is not None:
                total += gradient

    def update(self, rate: float) -> None:
        """One step at learning rate ``rate`` with all that was added since the last; nothing, if nothing was."""
        if self.sums is None:
            return
        whole = [weight not in self.pieces for weight in self.weights]
        sums = iter(over_processes([g for g, here in zip(self.sums, whole, strict=True) if here], self.fabric))
        for weight, gradient, here in zip(self.weights, self.sums, whole, strict=True):
            weight.grad = next(sums) if here else gradient
        self.sums = None
        self.scaler.unscale_(self.optimiser)
        if self.clip is not None:
            nn.utils.clip_grads_with_norm_(self.weights, self.clip, self._norm(whole))
        self.optimiser.param_groups[0]["lr"] = rate
        self.scaler.step(self.optimiser)
        self.scaler.update()
        self.optimiser.zero_grad(set_to_none=True)

    def _norm(self, whole: Sequence[bool]) -> Tensor:
        """Of the whole gradient, of which every process may have another part."""
        kinds = [
            [w.grad for w, h in zip(self.weights, whole, strict=True) if h is k and w.grad is not None]
            for k in (True, False)
        ]
        norm = nn.utils.get_total_norm(kinds[0])
        if not kinds[1]:
            return norm
        square: Any = self.fabric.all_reduce(nn.utils.get_total_norm(kinds[1]).square(), reduce_op="sum")
        return cast(Tensor, (norm.to(square).square() + square).sqrt())

    def state_dict(self) -> dict[str, Any]:
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self.scaler.load_state_dict(state)


def over_processes(gradients: Sequence[Tensor | None], fabric: Fabric) -> list[Tensor | None]:
    """Each gradient summed over all processes, as one flat tensor on the way."""
    if fabric.world_size == 1:
        return list(gradients)
    there = [g for g in gradients if g is not None]
    if not there:
        return list(gradients)
    flat = cast(Tensor, fabric.all_reduce(torch.cat([g.reshape(-1) for g in there]), reduce_op="sum"))
    sums = iter(flat.split([g.numel() for g in there]))
    return [None if g is None else next(sums).view(g.shape) for g in gradients]
