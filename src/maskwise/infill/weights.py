"""A network's published weights from a file that the user names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from maskwise.core.errors import InputError
from maskwise.core.weights import AnyModule, fill, read_weights


def with_weights(build: Callable[[], AnyModule], path: str | Path | None, name: str, advice: str) -> AnyModule:
    """The network with the file's weights, in float32, frozen and in eval mode.

    Args:
        build: makes the network.
        path: as for ``read_weights``; what a wrapper put before every name is dropped.
        name: the infiller's, for messages.
        advice: which file to give.

    Raises:
        InputError: no file, not a file of weights, a damaged one, or weights of another network.
    """
    if path is None:
        raise InputError(f"infiller {name} needs its published weights: {advice}, as '{name}:weights=FILE'")
    tensors = read_weights(path)
    with torch.device("meta"):  # no time is spent on first weights that nobody needs
        network = build()
    fill(network, tensors, f"{path}: not the weights of {name} ({advice})", assign=True)
    if not all(value.isfinite().all() for value in tensors.values()):
        raise InputError(f"{path}: the weights hold NaN or infinity")
    return network.float().eval().requires_grad_(False)
