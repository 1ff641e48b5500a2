"""Weights from files: a state dict that is read without running code, and put into a network that it fits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.hub_files import local_file
from maskwise.core.pickle_outline import ForbiddenNameError, OutlineError
from maskwise.core.portions import out_of_memory
from maskwise.core.seal import DTYPES, check_seal
from maskwise.core.text import one_line
from maskwise.core.torch_file import MOST_TENSORS, load_torch

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from .pt/.pth with ``weights_only`` (no code is ever unpickled).

    Of a checkpoint it is what stands under ``state_dict``, else the only state dict in it, such as ``model``.

    No more memory is taken than the file is long: see ``load_torch``.

    Raises:
        InputError: no such file, one that can't be read, or that holds something else than plain tensors by their
            names; a sealed file that was changed.
    """
    path = local_file(path)
    if not is_file(path):
        raise InputError(f"weights file {str(path)!r} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors import safe_open
            from safetensors.torch import load_file

            with safe_open(path, framework="pt") as stored:
                if len(list(stored.keys())) > MOST_TENSORS:
                    raise OutlineError(f"holds more than {MOST_TENSORS:,} tensors")
            loaded: Any = load_file(path)
        else:
            loaded = load_torch(path)
    except (ForbiddenNameError, UnpicklingError):
        raise InputError(f"{path}: holds more than plain tensors, so it is not opened; save its state_dict()") from None
    except OutlineError as error:
        raise InputError(f"{path}: not a weights file that can be read: it {error}") from None
    except Exception as error:  # a mangled stream makes the readers raise nearly every kind
        if out_of_memory(error):
            raise
        raise InputError(f"{path}: not a weights file that can be read ({one_line(error, 160)})") from None
    if path.suffix == ".safetensors":
        check_seal(path)
    if isinstance(loaded, Mapping) and not _is_state(loaded):
        inside = {str(key): value for key, value in loaded.items() if isinstance(value, Mapping) and _is_state(value)}
        if "state_dict" not in inside and len(inside) > 1:
            names = ", ".join(sorted(inside))[:100]
            raise InputError(f"{path}: holds several state dicts ({names}): save the one that is meant as a file")
        loaded = inside.get("state_dict") or next(iter(inside.values()), None)
    if not isinstance(loaded, Mapping) or not _is_state(loaded):
        raise InputError(f"{path}: not a state dict (names to tensors); save module.state_dict()")
    odd = next(((key, value.dtype) for key, value in loaded.items() if value.dtype not in DTYPES), None)
    if odd is not None:
        raise InputError(f"{path}: {odd[0]!r} has numbers of type {odd[1]}, which no network here has; save floats")
    return dict(loaded)


def _is_state(found: Mapping[Any, Any]) -> bool:
    return bool(found) and all(isinstance(key, str) and isinstance(value, Tensor) for key, value in found.items())


def without_wrapper(state: Mapping[str, Tensor], names: Iterable[str]) -> Mapping[str, Tensor]:
    """A state dict without what a wrapper of the network put before every name.

    Such are ``module.`` of DataParallel, ``_orig_mod.`` of torch.compile and ``model.`` of a Lightning module. It is
    taken off only where the state has none of the network's names, and without it has no others.

    Args:
        state: as it was saved.
        names: of the network's own tensors.
    """
    own = set(names)
    if not state or any(key in own for key in state):
        return state
    first = next(iter(state))
    for end in (i + 1 for i, letter in enumerate(first) if letter == "."):
        if all(key.startswith(first[:end]) and key[end:] in own for key in state):
            return {key[end:]: value for key, value in state.items()}
    return state


def number_of_rows(state: Mapping[str, Tensor], name: str, misfit: str) -> int:
    """How many rows a tensor has that decides how large a network is, such as the number of classes.

    Raises:
        InputError: there is none of that name, it has no dimension, or no row; the line begins with ``misfit``.
    """
    if name not in state:
        raise InputError(f"{misfit}: they have no {name!r}; they have {_some(list(state))}")
    tensor = state[name]
    if tensor.ndim < 1 or not len(tensor):
        raise InputError(f"{misfit}: {name!r} has the shape {tuple(tensor.shape)}, which is no number of classes")
    return len(tensor)


def built_with(build: Callable[[], AnyModule], state: Mapping[str, Tensor], misfit: str) -> AnyModule:
    """A new network with these weights; it is built only once its shapes are known to be theirs.

    Args:
        build: makes the network, here first on the meta device, which takes no memory.
        misfit: what to say of weights of another network.

    Raises:
        InputError: names or shapes differ.
    """
    with torch.device("meta"):
        skeleton = build()
    fill(skeleton, {name: value.to("meta") for name, value in state.items()}, misfit, assign=True)
    return fill(build(), state, misfit)


def fill(network: AnyModule, state: Mapping[str, Tensor], misfit: str, assign: bool = False) -> AnyModule:
    """The network with these weights, whose names may have a wrapper's before them (``without_wrapper``).

    Args:
        misfit: what to say of weights of another network.
        assign: take the tensors themselves instead of copies, as for a network on the meta device.

    Raises:
        InputError: names or shapes differ; ``misfit`` and the first difference, in one line.
    """
    names = network.state_dict().keys()
    state = without_wrapper(state, names)
    try:
        network.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        if out_of_memory(error):
            raise
        lacks, more = [n for n in names if n not in state], [n for n in state if n not in names]
        if lacks or more:
            said = [f"they lack {_some(lacks)}"] * bool(lacks) + [f"the network has no {_some(more)}"] * bool(more)
            raise InputError(f"{misfit}: {', and '.join(said)}") from None
        first = str(error).strip().splitlines()[1:2] or [str(error)]
        raise InputError(f"{misfit}: {one_line(first[0], 160)}") from None
    return network


def _some(names: Sequence[str]) -> str:
    """The first name and how many more: ``'fc.weight' and 3 more``."""
    first = one_line(repr(names[0]), 80) if names else "nothing"
    return first if len(names) < 2 else f"{first} and {len(names) - 1:,} more"
