"""One process in float32, without Lightning: what counts a step or trains for seconds need not load it first.

``lightning.fabric`` takes seconds to import: to ask for the version of torchmetrics it imports all of that.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import cached_property
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    import torch
    from lightning.fabric import Fabric


def alone(device: torch.device) -> Fabric:
    """What a trainer asks of Fabric, for this process alone, in float32; Fabric itself once it is asked for more."""
    return cast("Fabric", _Alone(device))


class _Alone:
    """Behaves as ``Fabric(accelerator=device.type, devices=1)`` does after its launch.

    Attributes:
        device: of the one process.
    """

    global_rank = 0
    world_size = 1
    strategy = SimpleNamespace(precision=SimpleNamespace(precision="32-true"))

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def autocast(self) -> AbstractContextManager[None]:
        """Float32 as it is."""
        return nullcontext()

    def barrier(self) -> None:
        """There is nobody to wait for."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # of copies and pickles, which ask before there is anything
            raise AttributeError(name)
        return getattr(self.fabric, name)

    @cached_property
    def fabric(self) -> Fabric:
        """For trainers from elsewhere, which may ask for anything of it."""
        from lightning.fabric import Fabric

        return Fabric(accelerator=self.device.type, devices=[self.device.index] if self.device.index is not None else 1)
