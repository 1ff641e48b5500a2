"""Decoded pictures that are kept, up to so many bytes."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import torch
from torch import Tensor

GPU_SHARE = 0.25  # of its free memory, at most; the rest is for the training


class PictureCache:
    """Keeps what it was asked for first, until it is full; nothing is evicted, since every epoch reads all.

    Threads may use it together: what two of them decode at once is the same.

    Args:
        most: bytes; 0 keeps nothing.
        device: pictures are kept there if it is a GPU, as far as they fit, else in memory of the CPU.
    """

    def __init__(self, most: int, device: torch.device | None = None) -> None:
        self.pictures: dict[Hashable, Tensor] = {}
        self.left = most
        self.device = torch.device("cpu")
        if most and device is not None and device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            self.device, self.left = device, min(most, int(free * GPU_SHARE))

    def get(self, key: Hashable, decode: Callable[[], Tensor]) -> Tensor:
        """The picture (3,H,W) uint8 of this key, decoded if it is not there."""
        found = self.pictures.get(key)
        if found is None:
            found = decode()
            size = found.numel()
            if size <= self.left:
                self.left -= size
                found = found.to(self.device)
                self.pictures[key] = found
        return found
