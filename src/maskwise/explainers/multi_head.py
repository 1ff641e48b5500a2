"""``nn.MultiheadAttention`` taken apart: its queries, keys and values by head."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def projected_heads(
    inputs: Sequence[Tensor], heads: int, weights: Sequence[Tensor], bias: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (N,h,q,d), keys and values (N,h,T,d).

    Args:
        inputs: queries, keys and values (T,N,C), as ``F.multi_head_attention_forward`` has them.
        heads: h.
        weights: of their three projections, (h d,C) each.
        bias: (3 h d) of all three together, or None.
    """
    biases: Sequence[Tensor | None] = (None, None, None) if bias is None else bias.chunk(3)
    q, k, v = (
        F.linear(x, w, b).unflatten(-1, (heads, -1)).permute(1, 2, 0, 3)
        for x, w, b in zip(inputs, weights, biases, strict=True)
    )
    return q, k, v
