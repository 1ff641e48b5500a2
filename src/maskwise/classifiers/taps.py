"""Taps: the activations of a network at each spatial scale, found by watching one forward pass.

CASM (supplement) reads the last activation before each downscaling and the final one. Which modules those are
differs in every library, so nothing here knows a network by name. A module whose children hand one tensor from
one to the next (a *chain*) is looked into; any other (a residual block, an attention block) is one opaque step,
since what lies inside does not carry all the information past that point. Of the steps at one spatial size the
last one is the tap. A network of one size only (a plain ViT) gives evenly spaced steps instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.core.errors import InputError

SAME_SCALE_TAPS = 4  # how many depths are tapped where the scale never changes


@dataclass
class _Call:
    """One call of one module during the watched forward."""

    name: str
    module: nn.Module
    inputs: int | None = None
    output: int | None = None
    grid: tuple[int, int] | None = None
    children: list[_Call] = field(default_factory=list)


def as_grid(activation: Tensor) -> Tensor | None:
    """(N,C,h,w) view of an activation: as it is, from (N,h,w,C), or from tokens (N,T,C); None if it has no grid.

    Tokens before the grid (class token, distillation, registers) are dropped.
    """
    if activation.ndim == 4:
        _, a, b, c = activation.shape
        return activation.permute(0, 3, 1, 2) if a == b and b != c else activation
    if activation.ndim == 3:
        tokens = activation.shape[1]
        for prefix in range(9):
            side = round(max(tokens - prefix, 0) ** 0.5)
            if side > 1 and side * side == tokens - prefix:
                grid = activation[:, prefix:].transpose(1, 2)
                return grid.reshape(activation.shape[0], -1, side, side)
    return None


def _watch(module: nn.Module, example: Tensor) -> _Call:
    """The tree of module calls of one forward; tensors are told apart by identity and kept alive meanwhile."""
    root = _Call("", module)
    stack, alive, handles = [root], [], []
    names = {m: n for n, m in module.named_modules()}

    def before(m: nn.Module, args: Any) -> None:
        call = _Call(names[m], m, id(args[0]) if args and isinstance(args[0], Tensor) else None)
        stack[-1].children.append(call)
        stack.append(call)
        alive.append(args)

    def after(m: nn.Module, args: Any, output: Any) -> None:
        call = stack.pop()
        alive.append(output)
        if isinstance(output, Tensor):
            call.output = id(output)
            grid = as_grid(output)
            call.grid = None if grid is None else (grid.shape[-2], grid.shape[-1])

    try:
        for m in module.modules():
            if m is not module:
                handles += [m.register_forward_pre_hook(before), m.register_forward_hook(after)]
        with torch.no_grad():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return root


def _is_chain(call: _Call) -> bool:
    """Does each child receive what the one before it gave, and the module give what the last child gave?

    The first child may receive something prepared (a position embedding added, say).
    """
    steps = call.children
    linked = all(b.inputs is not None and b.inputs == a.output for a, b in pairwise(steps))
    return bool(steps) and linked and steps[-1].output == call.output


def _steps(call: _Call, root: bool = True) -> Iterator[_Call]:
    for child in call.children:
        if _is_chain(child):
            yield from _steps(child, root=False)
        else:
            yield child


def find_taps(module: nn.Module, example: Tensor) -> tuple[str, ...]:
    """Names of the modules whose outputs are the taps, from fine to coarse.

    Args:
        module: any network, in eval mode.
        example: a normalised picture (1,3,H,W) at the network's input size.

    Raises:
        InputError: no activation with a spatial grid was seen.
    """
    # A bare convolution is not an activation; identities and dropouts only repeat the step before them.
    skip = (nn.Conv2d, nn.Identity, nn.Dropout)
    steps = [
        s
        for s in _steps(_watch(module, example))
        if s.grid is not None and min(s.grid) > 1 and not isinstance(s.module, skip)
    ]
    if not steps:
        raise InputError("no layer with a spatial grid was found; name the layers yourself with taps=[…]")
    last_at = {step.grid: step.name for step in steps if step.grid is not None}
    if len(last_at) > 1:
        return tuple(last_at[grid] for grid in sorted(last_at, reverse=True))
    unique = list(dict.fromkeys(step.name for step in steps))
    picks = [round((i + 1) * len(unique) / SAME_SCALE_TAPS) - 1 for i in range(SAME_SCALE_TAPS)]
    return tuple(dict.fromkeys(unique[max(p, 0)] for p in picks))


@contextmanager
def tapped(module: nn.Module, names: Sequence[str], leaf: bool = False) -> Iterator[dict[str, Tensor]]:
    """While open, forwards of ``module`` file the outputs of the named layers; the hooks always come off.

    They are filed as grids, or with ``leaf`` as they are and as leaves to be differentiated by (the grid of tokens
    is a view that the network does not read): what comes before them is then not recorded.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    mine = threading.get_ident()  # hooks are the module's, and another thread may use it meanwhile
    try:
        for name in names:
            try:
                layer = module.get_submodule(name)
            except AttributeError:
                raise InputError(f"the network has no layer {name!r}; see module.named_modules()") from None

            def keep(_: nn.Module, __: Any, output: Any, name: str = name) -> Tensor | None:
                if threading.get_ident() != mine:
                    return None
                grid = as_grid(output) if isinstance(output, Tensor) else None
                if grid is None:
                    raise InputError(f"the output of layer {name!r} has no spatial grid; choose another tap")
                if not leaf:
                    seen[name] = grid
                    return None
                seen[name] = output.detach().requires_grad_(torch.is_grad_enabled())
                return seen[name].clone()  # which the network may overwrite, as an in-place ReLU does

            handles.append(layer.register_forward_hook(keep))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
