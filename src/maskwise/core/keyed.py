"""Random numbers that belong to a picture, whatever batch it comes in."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor

from maskwise.core.errors import InputError


def keyed_generator(image: Tensor, seed: int) -> torch.Generator:
    """A generator keyed by seed and picture (…,H,W) in [0,1]: neither batch size nor order changes its numbers.

    Raises:
        InputError: a negative seed.
    """
    if seed < 0:
        raise InputError(f"seed must not be negative, and is {seed}")
    # Rounded, so that the last bits of a resize in another batch do not change the key.
    key = zlib.crc32((image.detach().cpu() * 255).round().to(torch.uint8).contiguous().numpy().tobytes())
    # Hashed together, since PyTorch's generator on the CPU uses 32 bits of its seed.
    return torch.Generator().manual_seed(int(np.random.SeedSequence((seed, key)).generate_state(1)[0]))
