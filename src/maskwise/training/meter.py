"""What the log holds of a step: means over the pictures of all its parts and all processes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

if TYPE_CHECKING:
    from lightning.fabric import Fabric


class Meter:
    """Adds up facts of one step by name, on the device: nothing waits for it until ``read_meters``.

    Args:
        fabric: the processes to sum over.
    """

    def __init__(self, fabric: Fabric) -> None:
        self.fabric = fabric
        self.sums: dict[str, Tensor] = {}  # by name, (2,): a sum and how many pictures it is of
        self.notes: dict[str, float | Tensor] = {}

    def add(self, facts: Mapping[str, Tensor], pictures: int) -> None:
        """Facts of one part: a scalar is a mean over its pictures; of a row (n,), NaN says nothing and is left out."""
        for name, fact in facts.items():
            fact = fact.detach().double() if fact.device.type != "mps" else fact.detach().float()
            known = ~fact.isnan() if fact.ndim else torch.ones((), device=fact.device)
            total = torch.where(known, fact, 0).sum() if fact.ndim else fact * pictures
            count = known.sum() if fact.ndim else known * pictures
            pair = torch.stack([total, count.to(total)])
            self.sums[name] = self.sums[name] + pair if name in self.sums else pair

    def note(self, **facts: float | Tensor) -> None:
        """What is the same for the whole step, such as a learning rate."""
        self.notes |= facts

    def reduce(self) -> Meter:
        """Sums over all processes; every one of them must call it, once, after the last ``add``."""
        if self.fabric.world_size > 1:
            pairs = cast(Tensor, self.fabric.all_reduce(torch.stack(list(self.sums.values())), reduce_op="sum"))
            self.sums = dict(zip(self.sums, pairs, strict=True))
        return self

    def mean(self, name: str) -> Tensor:
        """A scalar, on the device."""
        total, count = self.sums[name]
        mean: Tensor = total / count
        return mean


def read_meters(meters: Sequence[Meter]) -> list[dict[str, float]]:
    """The means of each step by name, all in one transfer from the device; a mean over no picture is left out."""
    pairs = [pair for meter in meters for pair in meter.sums.values()]
    noted = [note for meter in meters for note in meter.notes.values() if isinstance(note, Tensor)]
    flat = torch.cat([part.reshape(-1).to(pairs[0]) for part in (*pairs, *noted)]).tolist()
    sums, notes = iter(flat[: 2 * len(pairs)]), iter(flat[2 * len(pairs) :])
    found = []
    for meter in meters:
        means = {name: (next(sums), next(sums)) for name in meter.sums}
        row = {name: total / count for name, (total, count) in means.items() if count}
        row |= {name: next(notes) if isinstance(note, Tensor) else note for name, note in meter.notes.items()}
        found.append(row)
    return found
