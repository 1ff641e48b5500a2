"""What the log holds of a step: means over the pictures of all its parts and all processes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from lightning.fabric import Fabric
from torch import Tensor


class Tally:
    """Adds up facts by name; all of them are read from the device, and over processes, at once.

    Args:
        fabric: whose processes.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.sums: dict[str, Tensor] = {}

    def add(self, facts: Mapping[str, Tensor], pictures: int) -> None:
        """Facts of one part: a scalar is a mean over its pictures; of a row (n,), NaN says nothing and is left out."""
        for name, fact in facts.items():
            fact = fact.detach().double() if fact.device.type != "mps" else fact.detach().float()
            known = ~fact.isnan() if fact.ndim else torch.ones((), device=fact.device)
            total = torch.where(known, fact, 0).sum() if fact.ndim else fact * pictures
            count = known.sum() if fact.ndim else known * pictures
            pair = torch.stack([total, count.to(total)])
            self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def means(self) -> dict[str, float]:
        """By name, in the order in which they came; a mean over no picture is left out."""
        pairs = torch.stack(list(self.sums.values()))
        if self.fabric.world_size > 1:
            pairs = cast(Tensor, self.fabric.all_reduce(pairs, reduce_op="sum"))
        return {name: t / n for name, (t, n) in zip(self.sums, pairs.tolist(), strict=True) if n}
