"""Correlation and rank correlation of many rows at once."""

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


def pearson(a: Tensor, b: Tensor, flat: float = torch.nan) -> Tensor:
    """Correlation (N,) float64 of rows (N,P); ``flat`` where one of the two is the same everywhere.

    Example:
        >>> found = pearson(torch.tensor([[1.0, 2.0], [3.0, 3.0]]), torch.tensor([[4.0, 0.0], [1.0, 2.0]]))
        >>> found.round(decimals=9).tolist()
        [-1.0, nan]
    """
    x, y = (v.double() - v.double().mean(1, keepdim=True) for v in (a, b))
    found = (x * y).sum(1) / (x.norm(dim=1) * y.norm(dim=1))
    return torch.where(_flat(a) | _flat(b), flat, found.clamp(-1, 1))


def spearman(a: Tensor, b: Tensor, flat: float = torch.nan) -> Tensor:
    """As ``pearson``, of the ranks.

    Example:
        >>> spearman(torch.tensor([[1.0, 2.0, 9.0]]), torch.tensor([[0.0, 5.0, 6.0]])).round(decimals=9).tolist()
        [1.0]
    """
    return pearson(ranks(a), ranks(b), flat)


def concordance(values: Tensor, truth: Tensor, margin: float = 0.0) -> Tensor:
    """Of all pairs that ``truth`` orders, the share that ``values`` order alike less the share that they reverse.

    Somers' D, which is 2 AUC - 1 where the truth has two values; equal values count as neither.

    Args:
        values: (R,P).
        truth: (P,), the same for all rows.
        margin: pairs are looked at whose truths differ by more than that.

    Returns:
        (R,) float64 in [-1,1]; NaN where the truth orders no pair, or a value is NaN.

    Example:
        >>> concordance(torch.tensor([[1.0, 5.0, 5.0]]), torch.tensor([0.0, 1.0, 2.0])).round(decimals=4).tolist()
        [0.6667]
    """
    gaps = truth.double()[:, None] - truth.double()
    upper, lower = (gaps > margin).nonzero().T
    found = torch.sign(values[:, upper] - values[:, lower]).double().mean(1)
    return found.masked_fill(values.isnan().any(1), torch.nan)


def _flat(rows: Tensor) -> Tensor:
    return (rows == rows[:, :1]).all(1)
