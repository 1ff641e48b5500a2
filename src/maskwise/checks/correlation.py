"""Rank correlation and plain correlation of many rows at once."""

from __future__ import annotations

import torch
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Ranks (N,P) float64 from 1 on of each row of ``values`` (N,P); ties share their mean rank.

    Example:
        >>> ranks(torch.tensor([[0.2, 0.9, 0.2, 0.1]])).tolist()
        [[2.5, 4.0, 2.5, 1.0]]
    """
    ordered, order = values.sort(1)
    places = torch.arange(values.shape[1], device=values.device).expand_as(order)
    step = ordered[:, 1:] != ordered[:, :-1]
    edge = step.new_ones(len(values), 1)
    first = torch.where(torch.cat([edge, step], 1), places, 0).cummax(1).values
    last = torch.where(torch.cat([step, edge], 1), places, values.shape[1]).flip(1).cummin(1).values.flip(1)
    shared = (first + last).double() / 2 + 1
    return torch.empty_like(shared).scatter_(1, order, shared)


def pearson(a: Tensor, b: Tensor) -> Tensor:
    """Correlation (N,) of rows (N,P); exactly 1 where they are equal, NaN where one of two different rows is flat."""
    x, y = (v.double() - v.double().mean(1, keepdim=True) for v in (a, b))
    flat = (a == a[:, :1]).all(1) | (b == b[:, :1]).all(1)
    found = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    return torch.where(same(a, b), 1.0, torch.where(flat, torch.nan, found.clamp(-1, 1)))


def same(a: Tensor, b: Tensor) -> Tensor:
    """(N,) bool: are the two equal in every value?"""
    return (a == b).flatten(1).all(1)
