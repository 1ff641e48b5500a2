"""Random draws that depend on what they are for, never on what was drawn before."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


def generator(*key: int) -> torch.Generator:
    """A generator on the CPU that depends on all parts of its key, such as (seed, epoch, picture)."""
    seed = int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1)
    return torch.Generator().manual_seed(seed)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """What the global generator on the CPU draws within, such as first weights, is the seed's; then it is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
