"""A network's published weights from a file that the user names."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from maskwise.errors import InputError
from maskwise.seal import check_seal

Network = TypeVar("Network", bound=nn.Module)


def with_weights(build: Callable[[], Network], path: str | Path | None, name: str, advice: str) -> Network:
    """The network with the file's weights, in float32, frozen and in eval mode.

    Args:
        build: makes the network.
        path: .safetensors, or a .pth that holds tensors and nothing else; ``module.`` before every name, as
            DataParallel writes it, is dropped.
        name: the infiller's, for messages.
        advice: which file to give.

    Raises:
        InputError: no file, not a file of weights, a damaged one, or weights of another network.
    """
    if path is None:
        raise InputError(f"infiller {name} needs its published weights: {advice}, as '{name}:weights=FILE'")
    tensors = {key.removeprefix("module."): value for key, value in _tensors(Path(path)).items()}
    with torch.device("meta"):  # no time is spent on first weights that nobody needs
        network = build()
    try:
        network.load_state_dict(tensors, assign=True)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[1:2] or [str(error)]
        raise InputError(f"{path}: not the weights of {name} ({first[0].strip()[:150]}); {advice}") from None
    if not all(value.isfinite().all() for value in tensors.values()):
        raise InputError(f"{path}: the weights hold NaN or infinity")
    return network.float().eval().requires_grad_(False)


def _tensors(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"weights {str(path)!r} do not exist")
    try:
        if path.suffix == ".safetensors":
            stored: Any = load_file(path)
        else:
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: can't be read as weights ({' '.join(str(error).split())[:100]})") from None
    if path.suffix == ".safetensors":
        check_seal(path)
    stored = stored.get("state_dict", stored) if isinstance(stored, Mapping) else stored
    if not isinstance(stored, Mapping) or not all(isinstance(value, Tensor) for value in stored.values()):
        raise InputError(f"{path}: holds something else than the tensors of one network")
    return dict(stored)
