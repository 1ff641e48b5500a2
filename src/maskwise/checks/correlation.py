"""Rank correlation and plain correlation of many rows at once."""

from __future__ import annotations

import torch
from scipy.stats import rankdata
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Ranks (N,P) float64 from 1 on of each row of ``values`` (N,P); ties share their mean rank.

    Example:
        >>> ranks(torch.tensor([[0.2, 0.9, 0.2, 0.1]])).tolist()
        [[2.5, 4.0, 2.5, 1.0]]
    """
    return torch.from_numpy(rankdata(values.cpu().numpy(), axis=1)).to(values.device)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation (N,) of rows (N,P); exactly 1 where they are equal, NaN where one of two different rows is flat."""
    x, y = (v.double() - v.double().mean(1, keepdim=True) for v in (a, b))
    flat = (a == a[:, :1]).all(1) | (b == b[:, :1]).all(1)
    found = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    return torch.where(same(a, b), 1.0, torch.where(flat, torch.nan, found.clamp(-1, 1)))


def same(a: Tensor, b: Tensor) -> Tensor:
    """(N,) bool: are the two equal in every value?"""
    return (a == b).flatten(1).all(1)
