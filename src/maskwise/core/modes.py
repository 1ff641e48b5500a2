"""Train and eval mode, gradients by weights, backward hooks, for a while: each module's own come back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from torch import nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """While open, all parts of ``modules`` are in eval mode; after, also after an error, each part is as it was.

    ``module.eval()`` and ``module.train(was)`` would not do: they set one flag on every part, while a decoder may learn
    on a frozen encoder, and an encoder's batch norm that is put into train mode changes its running statistics. Flags
    are set one by one, since some programs (``torch.export``) refuse ``eval()``.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
        >>> _ = net[0].eval()
        >>> with eval_mode(net):
        ...     print(net.training, net[1].training)
        False False
        >>> net.training, net[0].training, net[1].training
        (True, False, True)
    """
    parts = [part for module in modules for part in module.modules()]
    # What ``torch.jit.freeze`` made has no flag: it is in eval mode for good.
    with _held(parts, lambda part: getattr(part, "training", False), lambda part, on: setattr(part, "training", on)):
        yield


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """While open, no weight of ``modules`` asks for a gradient; after, each one is as it was.

    Graphs through a network are then no larger than its input needs. Weights that were made in inference mode are left
    alone: nobody may switch them outside of it.

    Example:
        >>> net = nn.Linear(2, 2)
        >>> with frozen(net):
        ...     print(net.weight.requires_grad)
        False
        >>> net.weight.requires_grad
        True
    """
    weights = [weight for module in modules for weight in module.parameters() if not weight.is_inference()]
    with _held(weights, lambda weight: weight.requires_grad, lambda weight, flag: weight.requires_grad_(flag)):
        yield


@contextmanager
def without_backward_hooks(module: nn.Module) -> Iterator[None]:
    """While open, forwards of ``module`` pass by the backward hooks of its parts, which come back after.

    For their sake torch hands each part a view of its input and of its output: what is told by the very tensor that one
    part gives and the next one reads, as a batch norm is behind its convolution, is then not found.
    """
    names = ("_backward_hooks", "_backward_pre_hooks")
    hooks = [getattr(part, name) for part in module.modules() for name in names if hasattr(part, name)]
    with _held(hooks, bool, _put_aside):
        yield


_aside: dict[int, dict[int, Any]] = {}  # hooks that are held down, by the identity of the table that they are of


def _put_aside(hooks: dict[int, Any], on: bool) -> None:
    if on:
        hooks.update(_aside.pop(id(hooks)))
    else:
        _aside[id(hooks)] = dict(hooks)
        hooks.clear()


_lock = Lock()
_holders: dict[int, int] = {}  # how many hold a thing down, by its identity: threads may share a network


@contextmanager
def _held(things: list[Any], is_on: Callable[[Any], bool], switch: Callable[[Any, bool], Any]) -> Iterator[None]:
    """Switches off what is on, and on again when the last of those that wanted it off is done."""
    with _lock:
        held = [thing for thing in things if is_on(thing) or (_holders and id(thing) in _holders)]
        for thing in held:
            if id(thing) not in _holders:
                switch(thing, False)
            _holders[id(thing)] = _holders.get(id(thing), 0) + 1
    try:
        yield
    finally:
        with _lock:
            for thing in held:
                _holders[id(thing)] -= 1
                if not _holders[id(thing)]:
                    del _holders[id(thing)]
                    switch(thing, True)
