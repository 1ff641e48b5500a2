"""Has anybody written a network's weights, or put others in their place? Told in less than a millisecond."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn


class Written:
    """What tells a network's weights of now from those of later, without reading them all.

    Torch counts writes, but neither those through ``.data`` nor a fused optimiser's; so one value of each weight is
    looked at, too. A layer that is replaced, and weights that are assigned, are told by who they are.

    Args:
        module: the network.
    """

    def __init__(self, module: nn.Module) -> None:
        parts = [part for part in module.modules() if not isinstance(part, torch.jit.ScriptModule)]
        stores: list[dict[str, Any]] = [s for p in parts for s in (p._modules, p._parameters, p._buffers)]
        self._held = [(store, name, value) for store in stores for name, value in store.items()]
        self._weights = [*module.parameters(), *module.buffers()]
        plain = [w.detach() for w in self._weights if w.is_floating_point() and w.numel() and w.layout == torch.strided]
        self._values = [w[(0,) * w.ndim].view(1) for w in plain if w.device == plain[0].device]
        self._marks = self._now()

    def since(self) -> bool:
        """Was anything written, or replaced, since this was made?"""
        return any(store.get(name) is not value for store, name, value in self._held) or self._now() != self._marks

    def _now(self) -> list[Any]:
        values = torch.cat(self._values).nan_to_num().tolist() if self._values else []
        return [writes(self._weights), [_place(weight) for weight in self._weights], values]


def writes(weights: Iterable[Tensor]) -> list[int]:
    """How often each was written; of tensors of an inference mode nobody counts."""
    return [-1 if weight.is_inference() else weight._version for weight in weights]


def _place(weight: Tensor) -> int:
    try:
        return weight.data_ptr()
    except RuntimeError:  # of a kind that keeps its values elsewhere
        return 0
