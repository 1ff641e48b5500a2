"""Does a network give a picture the same answer each time, and whatever pictures stand beside it?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from maskwise.core.precision import HALVES

# random: another answer each time, as by dropout that is never off; batch: it depends on the pictures beside it.
Steadiness = Literal["steady", "random", "batch"]
ROUNDING = 1e-3  # of the largest score: convolutions of another batch size are added up in another order
HALF_ROUNDING = 5e-2  # likewise, where sums of many layers are rounded to 8 or 11 bits


def steadiness_of(module: nn.Module, ask: Callable[[], Tensor], first: Tensor) -> Steadiness:
    """Asks the first of several pictures again, by itself.

    Args:
        module: the network, in eval mode.
        ask: gives the scores (1,K) of that picture alone.
        first: (K,), its scores in company.
    """
    if any(isinstance(part, _BatchNorm) and part.running_mean is None for part in module.modules()):
        return "batch"  # by how much depends on the pictures; two of noise are much alike
    try:
        alone = ask()[0]
        if _same(alone, first):
            return "steady"
        return "batch" if _same(alone, ask()[0]) else "random"
    except Exception:  # it takes no single picture: that is no news about its answers
        return "steady"


def _same(a: Tensor, b: Tensor) -> bool:
    """Of scores (K,), NaN and infinity among them: are they one answer, within rounding?"""
    share = HALF_ROUNDING if a.dtype in HALVES else ROUNDING
    one, two = a.double().nan_to_num(), b.double().nan_to_num()
    return bool((one - two).abs().max() <= share * torch.maximum(one.abs().max(), two.abs().max()))
