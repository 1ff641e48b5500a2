"""Taps: the activations of a network at each spatial scale, found by watching one forward pass.

CASM (supplement) reads the last activation before each downscaling and the final one. Which modules those are
differs in every library, so nothing here knows a network by name. A module whose children hand one tensor from
one to the next (a *chain*) is looked into; any other (a residual block, an attention block) is one opaque step,
since what lies inside does not carry all the information past that point. An opaque step that hides the network
itself, as wrappers have one, is looked into nevertheless. Of the steps at one spatial size the last one is the tap.
A network of one size only (a plain ViT) gives evenly spaced steps instead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.grids import GridLayout, layout_of
from maskwise.classifiers.unseen import takes_hooks, unseen_part
from maskwise.classifiers.watching import Call, watch
from maskwise.core.errors import InputError
from maskwise.core.own_thread import in_this_thread

SAME_SCALE_TAPS = 4  # how many depths are tapped where the scale never changes
SCALES_OF_A_NETWORK = 3  # so many sizes within one opaque step with a grid: that is no block
# A bare convolution is no activation where one follows; identities and dropouts only repeat the step before them.
REPEATS, BARE = (nn.Identity, nn.Dropout), nn.Conv2d


@dataclass(frozen=True)
class Taps:
    """The layers that are read.

    Attributes:
        names: of the taps, fine to coarse.
        steps: names of all steps with a grid, in the order of the forward; the taps are among them.
        layouts: of all calls, by name; None where the output has no grid.
        sizes: (h,w) of those that have one.
    """

    names: tuple[str, ...]
    steps: tuple[str, ...] = ()
    layouts: Mapping[str, GridLayout | None] = field(default_factory=dict)
    sizes: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    @classmethod
    def found(cls, module: nn.Module, example: Tensor, names: Sequence[str] | None = None) -> Taps:
        """Those of a network.

        Args:
            module: in eval mode.
            example: a normalised picture (1,C,H,W) at the network's input size.
            names: of the taps, where somebody else says them.

        Raises:
            InputError: no activation with a spatial grid was seen.
        """
        root = watch(module, example)
        steps = steps_of(root, (example.shape[-2], example.shape[-1]), len(example))
        if names is None:
            names = _one_a_scale(steps, unseen_part(module))
        layouts = {call.name: None if call.grid is None else call.layout for call in root.all_calls()}
        sizes = {call.name: call.grid for call in root.all_calls() if call.grid is not None}
        return cls(tuple(names), tuple(step.name for step in steps), layouts, sizes)


def steps_of(root: Call, size: tuple[int, int], pictures: int = 1) -> list[Call]:
    """The steps of a network whose outputs have a grid of more than one row and column, in order.

    Args:
        size: (h,w) of the picture: a step of that size before the first weight, such as a normaliser, is the picture.
        pictures: how many were watched; what has another number of rows is of parts of them.
    """
    steps = _flat(root)
    while (hidden := _hidden_network(steps)) is not None:
        place = steps.index(hidden)
        steps[place : place + 1] = _flat(hidden)
    first = next((i for i, step in enumerate(steps) if step.has_weights), len(steps))
    steps = [step for i, step in enumerate(steps) if i >= first or step.grid != size]
    steps = [step for step in steps if step.rows == pictures]
    there = [s for s in steps if s.grid is not None and min(s.grid) > 1 and not isinstance(s.module, REPEATS)]
    read = {(call.inputs, call.read) for call in root.all_calls()}
    return [step for i, step in enumerate(there) if _is_activation(step, there[i + 1 :], read)] or there


def _is_activation(step: Call, later: Sequence[Call], read: Collection[tuple[int | None, int]]) -> bool:
    """Any step but a bare convolution; that, too, where no module reads it and none of its grid comes later.

    What follows it is then written as a function, ``F.relu(self.conv(x))``, and without it the network's last layer, or
    a whole scale, would be missing.

    Args:
        later: the steps behind it.
        read: identities and versions of all tensors that modules were given.
    """
    if not isinstance(step.module, BARE):
        return True
    return (step.output, step.made) not in read and all(
        s.grid != step.grid or isinstance(s.module, BARE) for s in later
    )


def _flat(call: Call) -> list[Call]:
    found: list[Call] = []
    for child in call.children:
        found += _flat(child) if child.is_chain else [child]
    return found


def _hidden_network(steps: Sequence[Call]) -> Call | None:
    """An opaque step that is a whole network: more of the calls with a grid lie inside of it than outside.

    Its output has no grid, as a backbone's vector or a classifier's scores; or it has one, after several scales.
    """
    inside = {id(step): [c for c in step.all_calls() if c.grid is not None and min(c.grid) > 1] for step in steps}
    total = sum(map(len, inside.values())) + sum(step.grid is not None for step in steps)
    for step in steps:
        calls = inside[id(step)]
        several = len({call.grid for call in calls}) >= SCALES_OF_A_NETWORK
        if 2 * len(calls) > total and (step.grid is None or several):
            return step
    return None


def _one_a_scale(steps: Sequence[Call], unseen: str | None) -> list[str]:
    if not steps and unseen is not None:
        raise InputError(
            f"no layer with a spatial grid was found, and the part {unseen!r} is scripted or exported and shows none: "
            "take what that was made from, or a method that reads no layer, such as rise, occlusion or gradient"
        )
    if not steps:
        raise InputError("no layer with a spatial grid was found; name the layers yourself with taps=[…]")
    last_at = {step.grid: step.name for step in steps if step.grid is not None}
    if len(last_at) > 1:
        return [last_at[grid] for grid in sorted(last_at, reverse=True)]
    unique = list(dict.fromkeys(step.name for step in steps))
    picks = [round((i + 1) * len(unique) / SAME_SCALE_TAPS) - 1 for i in range(SAME_SCALE_TAPS)]
    return list(dict.fromkeys(unique[max(p, 0)] for p in picks))


def layer_of(module: nn.Module, name: str, reads: bool = True) -> tuple[nn.Module, int | None]:
    """The module that a tap's name means, and which of its calls; None is the last one.

    Args:
        reads: is it to be read now, which a scripted one can't be?

    Raises:
        InputError: there is none of that name, or it is scripted.
    """
    path, _, call = name.partition("#")
    try:
        layer, number = module.get_submodule(path), int(call) if call else None
    except (AttributeError, ValueError):
        raise InputError(f"the network has no layer {name!r}; see module.named_modules()") from None
    if reads and not takes_hooks(layer):
        raise InputError(f"layer {name!r} is scripted, and can't be read: take what it was made from")
    return layer, number


@contextmanager
def tapped(
    module: nn.Module,
    names: Sequence[str],
    leaf: bool = False,
    layouts: Mapping[str, GridLayout | None] | None = None,
    raw: bool = False,
) -> Iterator[dict[str, Tensor]]:
    """While open, forwards of ``module`` file the outputs of the named layers; the hooks always come off.

    They are filed as grids, or with ``leaf`` as they are and as leaves to be differentiated by (the grid of tokens
    is a view that the network does not read): what comes before them is then not recorded.

    Args:
        names: of layers; of one that a forward calls again ``NAME`` is the last call, ``NAME#1`` the first.
        layouts: of their outputs, where they are known; None for one that is known to have no grid.
        raw: file outputs as they are, which is what gradients reach.

    Raises:
        InputError: no such layer; or, in a forward, an output without a grid.
    """
    seen: dict[str, Tensor] = {}
    handles = []
    calls: Counter[str] = Counter()
    size = [1, 1]

    def begin(_: nn.Module, args: Any) -> None:
        calls.clear()
        if args and isinstance(args[0], Tensor) and args[0].ndim == 4:
            size[:] = args[0].shape[-2:]

    try:
        handles.append(module.register_forward_pre_hook(in_this_thread(begin)))
        for name in names:
            layer, wanted = layer_of(module, name)

            def keep(
                _: nn.Module, __: Any, output: Any, name: str = name, wanted: int | None = wanted
            ) -> Tensor | None:
                calls[name] += 1
                if wanted is not None and calls[name] != wanted:
                    return None
                layout = (layouts or {}).get(name)
                if name not in (layouts or {}) and isinstance(output, Tensor):
                    layout = layout_of(output, (size[0], size[1]))
                grid = layout.grid(output) if layout is not None and isinstance(output, Tensor) else None
                if grid is None:
                    raise InputError(f"the output of layer {name!r} has no spatial grid; choose another tap")
                if not leaf:
                    seen[name] = output if raw else grid
                    return None
                seen[name] = output.detach().requires_grad_(torch.is_grad_enabled())
                return seen[name].clone()  # which the network may overwrite, as an in-place ReLU does

            handles.append(layer.register_forward_hook(in_this_thread(keep)))
        yield seen
    finally:
        for handle in handles:
            handle.remove()
