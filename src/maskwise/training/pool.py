"""The pool of past classifiers: which are kept (thinning) and which one judges the next mask (CASM 3.2)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.training.mask_recipe import Thinning

Snapshot = dict[str, Tensor]


def snapshot(module: nn.Module) -> Snapshot:
    """A copy of all weights and buffers; cloned, so that it never follows the live network."""
    return {key: value.detach().clone() for key, value in module.state_dict().items()}


class SnapshotPool:
    """Snapshots of one classifier over its training, at most ``size`` of them.

    Args:
        thinning: F keeps nothing, since the classifier never changes; L keeps nothing and always uses the
            latest; FL keeps the first only; L100 and L1000 keep every 100th or 1000th.
        size: when full, a uniformly drawn entry is replaced.
        p_history: chance that an older classifier judges instead of the latest.
        generator: draws both the replaced entry and the judge.
    """

    def __init__(self, thinning: Thinning, size: int, p_history: float, generator: torch.Generator) -> None:
        self.every = {"L100": 100, "L1000": 1000}.get(thinning)
        self.keeps_first = thinning not in ("F", "L")
        self.size, self.p_history, self.generator = size, p_history, generator
        self.entries: list[Snapshot] = []
        self.kept_at: list[int] = []

    def wants(self, step: int) -> bool:
        """Is the classifier before update number ``step`` (from 0) one that is kept?"""
        if not self.keeps_first:
            return False
        return step == 0 if self.every is None else step % self.every == 0

    def offer(self, step: int, module: nn.Module) -> None:
        """Keep a snapshot of the classifier as it is before update ``step``, if thinning wants it."""
        if not self.wants(step):
            return
        if len(self.entries) < self.size:
            self.entries.append(snapshot(module))
            self.kept_at.append(step)
        else:
            slot = int(torch.randint(self.size, (), generator=self.generator))
            self.entries[slot], self.kept_at[slot] = snapshot(module), step

    def draw(self) -> Snapshot | None:
        """The judge of the next mask: None is the latest classifier, otherwise an entry."""
        older = float(torch.rand((), generator=self.generator)) < self.p_history
        if not older or not self.entries:
            return None
        return self.entries[int(torch.randint(len(self.entries), (), generator=self.generator))]

    def snapshots(self) -> dict[str, Snapshot]:
        """The entries by the step they were kept at, which no other will ever have."""
        return {f"step-{step:08}": entry for step, entry in zip(self.kept_at, self.entries, strict=True)}

    def state_dict(self) -> dict[str, Any]:
        """All but the snapshots."""
        return {"kept_at": list(self.kept_at), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any], snapshots: Mapping[str, Snapshot]) -> None:
        self.kept_at = list(state["kept_at"])
        self.entries = [snapshots[f"step-{step:08}"] for step in self.kept_at]
        self.generator.set_state(state["generator"].cpu())
