"""The generators of random numbers that all of a process share."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def shared_generators() -> tuple[Any, ...]:
    """Where torch's, Python's and NumPy's stand; equal before and after what draws nothing from them."""
    kind, keys, *rest = np.random.get_state()
    return torch.get_rng_state().tolist(), random.getstate(), kind, np.asarray(keys).tolist(), rest
