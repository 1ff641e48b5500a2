"""One optimizer's step from the gradients of parts of a batch: over micro-batches, processes and float16's scaling."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from maskwise.training.distributed.share import MicroBatch

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class OptimizerStep:
    """Adds up gradients, here and over processes, and steps.

    Gradients are asked for with ``torch.autograd.grad``, so that one graph can serve two networks; DDP's hooks, which
    see ``backward`` alone, have no part in it, and what they would do is done here: one all-reduce of one flat tensor.

    Args:
        optimizer: of ``parameters``.
        parameters: in the order of the gradients.
        fabric: processes and precision. With float16 losses are scaled, and a step with an overflow is left out.
        clip: norm of the whole gradient; None leaves it.
        some: may some of the parameters have no part in the loss?

    Attributes:
        rate: the learning rate of the last step; 0 where this step took none.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        parameters: Sequence[nn.Parameter],
        fabric: Fabric,
        clip: float | None = None,
        some: bool = False,
    ) -> None:
        self.optimizer, self.parameters, self.fabric = optimizer, list(parameters), fabric
        self.clip, self.some, self.rate = clip, some, 0.0
        half = getattr(fabric.strategy.precision, "precision", "") == "16-mixed"
        self.scaler = torch.amp.GradScaler(fabric.device.type, enabled=half)
        self.sums: list[Tensor | None] | None = None

    def add(self, loss: Tensor, part: MicroBatch, keep_graph: bool = False) -> None:
        """The part's share of the gradient of a loss that is a mean over pictures."""
        # Weighed before the backward: synchronised batch norm adds up gradients of all processes inside of it.
        loss = loss if part.weight == 1 else loss * part.weight
        gradients = torch.autograd.grad(
            self.scaler.scale(loss), self.parameters, retain_graph=keep_graph, allow_unused=self.some
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
        for parameter, gradient in zip(self.parameters, over_processes(self.sums, self.fabric), strict=True):
            parameter.grad = gradient
        self.sums = None
        self.scaler.unscale_(self.optimizer)
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.param_groups[0]["lr"] = self.rate = rate
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        return {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:
            self.scaler.load_state_dict(state["scaler"])


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
