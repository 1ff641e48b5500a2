"""Wrappers that stand around a network without being part of it, and things that are no network to be wrapped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.link import Activation
from maskwise.core.errors import InputError

LAYERS: dict[type[nn.Module], Activation] = {nn.Softmax: "softmax", nn.Sigmoid: "sigmoid"}


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


@contextmanager
def last_activation(module: nn.Module) -> Iterator[Callable[[Tensor], tuple[str, Tensor] | None]]:
    """While open, softmax and sigmoid layers are watched.

    Yields:
        A function from what the module gave to the name of the layer that gave it, and what that got: the logits.
        None if it was none of them.
    """
    seen: dict[int, tuple[str, Tensor, Tensor]] = {}
    names = {layer: name for name, layer in module.named_modules()}
    handles = []

    def keep(layer: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            seen[id(output)] = (names[layer], args[0], output)  # which keeps it, and so its identity, alive

    def found(given: Tensor) -> tuple[str, Tensor] | None:
        return seen[id(given)][:2] if id(given) in seen else None

    try:
        if not isinstance(module, torch.jit.ScriptModule):
            handles = [m.register_forward_hook(keep) for m in names if type(m) in LAYERS]
        yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def inputs_of(layer: nn.Module) -> Iterator[list[Tensor]]:
    """While open, files what the layer is given in this thread."""
    given: list[Tensor] = []
    mine = get_ident()

    def keep(_: nn.Module, args: Any) -> None:
        if get_ident() == mine:
            given.append(args[0])

    handle = layer.register_forward_pre_hook(keep)
    try:
        yield given
    finally:
        handle.remove()
