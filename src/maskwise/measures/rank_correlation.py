"""Spearman's correlation of rows."""

from __future__ import annotations

import torch
from torch import Tensor


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Correlation (N,), float64, of the ranks of rows (N,K); equal values share their mean rank, a flat row gives 0.

    Example:
        >>> spearman(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 5.0, 6.0]])).tolist()
        [1.0]
    """
    ranks = [_ranks(values) for values in (first, second)]
    a, b = (r - r.mean(1, keepdim=True) for r in ranks)
    spread = (a.square().sum(1) * b.square().sum(1)).sqrt()
    return torch.where(spread > 0, (a * b).sum(1) / spread.where(spread > 0, 1), 0.0)


def _ranks(values: Tensor) -> Tensor:
    """Mean ranks (N,K), float64, of rows (N,K)."""
    values = values.double()
    sorted_values = values.sort(1).values.contiguous()
    below = torch.searchsorted(sorted_values, values.contiguous())
    up_to = torch.searchsorted(sorted_values, values.contiguous(), right=True)
    return (below + up_to - 1).double() / 2
