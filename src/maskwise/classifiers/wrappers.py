"""Wrappers that stand around a network without being part of it, and things that are no network to be wrapped."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from maskwise.core.errors import InputError


def unwrapped(module: Any) -> nn.Module:
    """The network itself: of ``DataParallel``, of what ``torch.compile`` made, of a ``torch.export`` program.

    Its layers can be read there, and a map needs its gradients. Other wrappers (a normaliser before it, a Lightning
    module around it) are networks themselves, and stay.

    Raises:
        InputError: no module, or one that another way leads to.
    """
    if isinstance(module, torch.export.ExportedProgram):
        return module.module()
    while True:
        if isinstance(module, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
            module = module.module
        elif isinstance(module, nn.Module) and isinstance(getattr(module, "_orig_mod", None), nn.Module):
            module = module._orig_mod
        else:
            break
    if any(base.__module__.startswith("transformers.") for base in type(module).__mro__):
        raise InputError(
            f"{type(module).__name__} is a model of transformers: load it as hf/NAME, or call "
            "maskwise.classifiers.hf.from_hf(model, processor)"
        )
    if not isinstance(module, nn.Module):
        what = "a class" if isinstance(module, type) else type(module).__name__
        raise InputError(f"a classifier is made around a torch.nn.Module, not {what}")
    return module
