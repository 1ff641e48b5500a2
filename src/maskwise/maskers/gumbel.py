"""Nearly binary masks that can be trained: the binary concrete distribution (Phang et al. 2021, section 4.4)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

GumbelMode = Literal["none", "soft", "hard"]
TINY = 1e-8  # keeps the logarithms finite


def binary_concrete(logits: Tensor, temperature: float, hard: bool) -> Tensor:
    """A sample in [0,1] for each logit h: sigmoid((h + log u - log(1-u)) / temperature), u uniform.

    Args:
        logits: any shape.
        temperature: towards 0 the sample becomes a coin with P(1) = sigmoid(h).
        hard: give exactly 0 or 1, with the soft sample's gradient (straight-through).
    """
    u = torch.rand_like(logits)
    soft = torch.sigmoid((logits + torch.log(u + TINY) - torch.log(1 - u + TINY)) / temperature)
    return soft + ((soft > 0.5).to(soft.dtype) - soft).detach() if hard else soft
