"""The layers of any network, from its output back to its input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.black_box import BlackBox
from maskwise.classifiers.unseen import takes_hooks
from maskwise.core.errors import InputError
from maskwise.core.own_thread import in_this_thread
from maskwise.core.uncompiled import uncompiled

PARAMETRISED = ".parametrizations."  # below it lies what a layer's weight is computed from


@dataclass(frozen=True)
class Layer:
    """A part of a network that is randomised as one.

    Attributes:
        name: of a module, or of the block it belongs to.
        modules: the names of those of its modules that hold parameters, as ``named_modules`` has them.
    """

    name: str
    modules: tuple[str, ...]


def layers_from_the_top(module: nn.Module, example: Tensor, depth: int | None = 2) -> list[Layer]:
    """Layers in the reverse of the order in which they run, found by watching one forward.

    A layer is a module that holds parameters of its own, or all those that share the first ``depth`` parts of their
    name: with 2, a torchvision ResNet's are ``fc, layer4.2, layer4.1, … layer1.0, bn1, conv1``. A module that runs
    several times counts where it runs last; one that is never called by itself (the projection within
    ``nn.MultiheadAttention``) where the module around it runs; one that never runs at all is left out. What the network
    itself holds beside its modules (a class token, positions) is a layer by the names of these parameters.

    Args:
        module: any network, in eval mode.
        example: what its forward takes, a normalised picture (1,3,H,W).
        depth: parts of a name; None is every module for itself.

    Raises:
        InputError: a depth below 1, a black box, packed weights, or a network without parameters.

    Example:
        >>> net = nn.Sequential(nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)), nn.Flatten(), nn.Linear(16, 2))
        >>> [layer.name for layer in layers_from_the_top(net, torch.zeros(1, 3, 2, 2), depth=None)]
        ['2', '0.1', '0.0']
        >>> layers_from_the_top(net, torch.zeros(1, 3, 2, 2), depth=1)[1]
        Layer(name='0', modules=('0.1', '0.0'))
    """
    if depth is not None and depth < 1:
        raise InputError(f"depth counts the parts of a layer's name and is at least 1, not {depth}")
    if isinstance(module, BlackBox):
        raise InputError("a black box (a function, an ONNX file) shows no weights: nothing can be randomised")
    _refuse_packed(module)
    ran = _running_order(module, example)
    place = {name: i for i, name in enumerate(ran)}
    found: list[tuple[int, str]] = []
    for name, part in module.named_modules():
        if next(part.parameters(recurse=False), None) is not None:
            caller = name
            while caller not in place and caller:
                caller = caller.rpartition(".")[0]
            # Under the root alone hangs what no forward reaches.
            if name in place or caller:
                found.append((place[caller], name))
    if not found:
        raise InputError("the network has no parameters that a forward uses: nothing can be randomised")
    groups: dict[str, list[str]] = {}
    for _, name in sorted(found, key=lambda entry: -entry[0]):
        layer = name.partition(PARAMETRISED)[0]
        groups.setdefault(".".join(layer.split(".")[:depth]), []).append(name)
    own = (
        ", ".join(name for name, _ in module.named_parameters(recurse=False)) if len(groups) > 1 else "(whole network)"
    )
    return [Layer(name or own, tuple(names)) for name, names in groups.items()]


def _refuse_packed(module: nn.Module) -> None:
    """Raises InputError where a part keeps weights that are no parameters: they would stay, without a word."""
    known = {name for own in (module.named_parameters, module.named_buffers) for name, _ in own(remove_duplicate=False)}
    for name in module.state_dict():
        if name not in known and not name.endswith("_extra_state"):
            raise InputError(
                f"the weights of {name!r} are packed (quantised), and can't be randomised: check the network that it "
                "was made from"
            )


def _running_order(module: nn.Module, example: Tensor) -> list[str]:
    """Names of the modules in the order of their last call; the hooks always come off."""
    calls: dict[str, None] = {}
    handles = []
    try:
        for name, part in module.named_modules():
            if not takes_hooks(part):
                continue

            def called(_: nn.Module, __: Any, name: str = name) -> None:
                calls.pop(name, None)
                calls[name] = None

            handles.append(part.register_forward_pre_hook(in_this_thread(called)))
        with torch.no_grad(), uncompiled():
            module(example)
    finally:
        for handle in handles:
            handle.remove()
    return list(calls)
