"""Weights from files: a state dict that is read without running code, and put into a network that it fits."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from maskwise.core.errors import InputError
from maskwise.core.seal import check_seal

AnyModule = TypeVar("AnyModule", bound=nn.Module)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """A state dict from .safetensors, or from .pt/.pth with ``weights_only`` (no code is ever unpickled).

    Raises:
        InputError: no such file, one that can't be read, or that holds something else than tensors by their names; a
            sealed file that was changed.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"weights file {str(path)!r} does not exist")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            loaded: Any = load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        raise InputError(f"{path}: holds more than plain tensors, so it is not opened; save its state_dict()") from None
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not a weights file that can be read ({_line(error)})") from None
    except Exception as error:  # safetensors raises its own error class, which derives from Exception alone
        raise InputError(f"{path}: not a weights file that can be read ({_line(error)})") from None
    if path.suffix == ".safetensors":
        check_seal(path)
    if isinstance(loaded, Mapping) and isinstance(loaded.get("state_dict"), Mapping):
        loaded = loaded["state_dict"]
    if not isinstance(loaded, Mapping) or not all(isinstance(v, Tensor) for v in loaded.values()):
        raise InputError(f"{path}: not a state dict (names to tensors)")
    return dict(loaded)


def fill(network: AnyModule, state: Mapping[str, Tensor], misfit: str, assign: bool = False) -> AnyModule:
    """The network with these weights.

    Args:
        misfit: what to say of weights of another network.
        assign: take the tensors themselves instead of copies, as for a network on the meta device.

    Raises:
        InputError: names or shapes differ; ``misfit`` and the first difference, in one line.
    """
    try:
        network.load_state_dict(state, assign=assign)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[1:2] or [str(error)]
        raise InputError(f"{misfit}: {' '.join(first[0].split())[:160]}") from None
    return network


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:160]
