"""New random weights for parts of a network, and the old ones back."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn

from maskwise.checks.layers import Layer
from maskwise.core.registry import Registry
from maskwise.core.written import writes

initialisations: Registry[Callable[[nn.Module], None]] = Registry("initialisation")


@initialisations.register("own", title="the module's own reset_parameters")
def own_rule(module: nn.Module) -> None:
    """As the module's constructor made it: batch norm forgets its running statistics, too.

    What has no such rule (a class token, a layer scale) is drawn from a normal distribution of the mean and standard
    deviation that its values have. So is what the reset passes over, as it does what a weight is computed from by
    weight norm, spectral norm or pruning: it writes into the weight, which the next forward computes anew.
    """
    before = {name: (own, writes([own]), own.clone()) for name, own in module.named_parameters(recurse=False)}
    reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
    if reset is not None:
        reset()
    for name, (own, written, values) in before.items():
        if module._parameters.get(name) is own and writes([own]) == written and torch.equal(own, values):
            spread = own.std().item() if own.numel() > 1 else abs(own.item())
            own.normal_(own.mean().item(), spread)


@initialisations.register("released", title="the rule of Phang et al.'s released code")
def released_rule(module: nn.Module) -> None:
    """Convolutions N(0, 2 / (out * in * kernel width)), other matrices Kaiming-uniform with a = sqrt 5.

    Every vector, batch norm's weight among them, is uniform within 1 / sqrt(its length); running statistics stay.
    """
    for parameter in module.parameters(recurse=False):
        if parameter.ndim == 4:
            outputs, inputs, _, width = parameter.shape
            parameter.normal_(0, math.sqrt(2 / (outputs * inputs * width)))
        elif parameter.ndim >= 2:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
        else:
            bound = 1 / math.sqrt(max(parameter.numel(), 1))
            parameter.uniform_(-bound, bound)


@torch.no_grad()
def randomise(module: nn.Module, layer: Layer, init: str = "own", seed: int = 0) -> None:
    """Draws new weights for one layer, in place.

    Each module draws from a generator keyed by (seed, its name): the numbers do not depend on what was randomised
    before. What modules within it hold stays, unless they are named, too. The global random state stays as it was.

    Args:
        module: the network that the layer is of.
        layer: see ``layers_from_the_top``.
        init: a rule by name.
        seed: of the draws.

    Raises:
        InputError: unknown rule.
    """
    rule = initialisations.get(init)
    for name in layer.modules:
        part = module.get_submodule(name)
        device = next(part.parameters(recurse=False)).device
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            key = np.random.SeedSequence((seed, zlib.crc32(name.encode())))
            torch.manual_seed(int(key.generate_state(1)[0]))
            _own_alone(part, rule)


def _own_alone(module: nn.Module, rule: Callable[[nn.Module], None]) -> None:
    """Applies a rule to what a module itself holds.

    Its reset may well begin the modules within it anew, too, which are layers of their own: these stay. A reset that
    puts new tensors in place of the old ones leaves its values in the old ones, which are those that are put back.
    """
    held = [
        (store, name, tensor)
        for part in module.modules()
        for store in (part._parameters, part._buffers)
        for name, tensor in store.items()
        if tensor is not None
    ]
    own = {id(tensor) for store, _, tensor in held if store is module._parameters or store is module._buffers}
    kept = {id(tensor): tensor.clone() for _, _, tensor in held if id(tensor) not in own}
    rule(module)
    for store, name, tensor in held:
        made = store[name]
        if id(tensor) in kept:
            tensor.copy_(kept[id(tensor)])
        elif made is not None and made is not tensor:
            tensor.copy_(made)
        store[name] = tensor  # type: ignore[assignment]


@contextmanager
def restored(module: nn.Module) -> Iterator[Callable[[], None]]:
    """All parameters and buffers are what they were afterwards, bit by bit, also when something raises.

    Gives a function that puts them back at once. Tensors keep their identity, so whoever holds one sees the same.
    """
    tensors = [*module.parameters(), *module.buffers()]
    saved = [tensor.detach().clone() for tensor in tensors]

    @torch.no_grad()
    def back() -> None:
        for tensor, was in zip(tensors, saved, strict=True):
            tensor.copy_(was)

    try:
        yield back
    finally:
        back()
