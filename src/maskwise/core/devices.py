"""Devices by name."""

from __future__ import annotations

import torch

from maskwise.core.errors import InputError


def device_of(name: str) -> torch.device:
    """The device called ``auto`` (a GPU where there is one), ``cpu``, ``cuda`` or ``mps``.

    Raises:
        InputError: unknown, or not on this machine.

    Example:
        >>> device_of("cpu")
        device(type='cpu')
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        return torch.device(next(kind for kind, here in there.items() if here))
    if not there.get(name):
        what = "is not here" if name in there else "is unknown"
        raise InputError(f"device {name!r} {what}: use auto or {' or '.join(d for d, here in there.items() if here)}")
    return torch.device(name)
