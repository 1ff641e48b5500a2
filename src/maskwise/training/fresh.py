"""Weights that begin anew: of a whole network, or of what runs after one of its layers."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count

import torch
from torch import Tensor, nn

from maskwise.classifiers import Classifier
from maskwise.classifiers.taps import layer_of
from maskwise.core.errors import InputError
from maskwise.core.own_thread import in_this_thread


def layers_after(classifier: Classifier, tap: int) -> list[str]:
    """Names of the modules with weights of their own that first run once the tap's layer has given its output.

    That is found out by one forward, since the order in which a network names its parts need not be theirs.

    Args:
        tap: index among the classifier's taps, 0 the finest, -1 the last.

    Raises:
        InputError: no such tap, or nothing with weights comes after it.
    """
    names = classifier.tap_names
    if not -len(names) <= tap < len(names):
        raise InputError(
            f"{classifier.name} has {len(names)} taps: fresh_after is one of 0…{len(names) - 1}, not {tap}"
        )
    layer, call = layer_of(classifier.module, names[tap])
    first: dict[str, int] = {}  # when each module was first called
    gave: list[int] = []  # when the tap's layer gave an output
    clock = count()

    def see(name: str) -> None:
        first.setdefault(name, next(clock))

    handles = [
        module.register_forward_pre_hook(in_this_thread(lambda *_, name=name: see(name)))
        for name, module in classifier.module.named_modules()
        if own_weights(module)
    ]
    handles.append(layer.register_forward_hook(in_this_thread(lambda *_: gave.append(next(clock)))))
    try:
        with torch.no_grad():
            classifier.logits(classifier.example())
    finally:
        for handle in handles:
            handle.remove()
    passed = gave[-1 if call is None else call - 1]
    found = [name for name, time in first.items() if time > passed]
    if not found:
        raise InputError(f"{classifier.name} has no weights after its tap {names[tap]!r}: take an earlier fresh_after")
    return found


def own_weights(module: nn.Module) -> bool:
    """Has it parameters or buffers itself, not only in its parts?"""
    return bool(list(module.parameters(recurse=False)) or list(module.buffers(recurse=False)))


def begin_anew(module: nn.Module, names: Iterable[str]) -> None:
    """Draws the weights of the named parts from the global generator, as torchvision's ResNets begin.

    Convolutions: normal, variance 2 / (outputs of a group x kernel), biases 0 (He et al. 2015, fan out). Batch norm:
    weight 1, bias 0, mean 0, variance 1. What else there is draws by its own ``reset_parameters``.

    Raises:
        InputError: a part that can't draw its weights itself.
    """
    for name in names:
        part = module.get_submodule(name)
        if isinstance(part, nn.modules.conv._ConvNd):
            outputs = part.out_channels * part.weight[0, 0].numel() / part.groups
            with torch.no_grad():
                part.weight.normal_(0, (2 / outputs) ** 0.5)
                if part.bias is not None:
                    part.bias.zero_()
            continue
        reset = getattr(part, "reset_parameters", None)
        if not callable(reset):
            kind = type(part).__name__
            raise InputError(f"the weights of {name!r} ({kind}) can't begin anew: take another network, or pretrained")
        reset()


def parameters_of(module: nn.Module, names: Iterable[str]) -> list[nn.Parameter]:
    """Those of the named parts themselves, each once."""
    found: dict[int, nn.Parameter] = {}
    for name in names:
        found |= {id(p): p for p in module.get_submodule(name).parameters(recurse=False)}
    return list(found.values())


def tensors_of(module: nn.Module) -> dict[str, Tensor]:
    """The state as it is stored: on the CPU, contiguous, cut off from the graph."""
    return {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
