"""Total variation of a mask: how long and how steep its edges are."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

Form = Literal["paper", "released"]
BORDER = 0.3  # of the squares along the picture's edge, in the released form


def total_variation(masks: Tensor, form: Form = "paper") -> Tensor:
    """Sum over the pixels of the squared differences between neighbours, mean over the batch.

    Args:
        masks: (B,H,W).
        form: ``paper`` (Dabkowski & Gal 2017; Phang et al. 2021), or ``released``, as both code it: 0.3 times the
            squares of the four border lines are added, and the whole is halved.

    Example:
        >>> import torch
        >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])).item()
        2.0
    """
    down = (masks[:, 1:] - masks[:, :-1]).square().sum()
    across = (masks[:, :, 1:] - masks[:, :, :-1]).square().sum()
    total = down + across
    if form == "released":
        lines = (masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1])
        total = (total + BORDER * sum(line.square().sum() for line in lines)) / 2
    return total / len(masks)
