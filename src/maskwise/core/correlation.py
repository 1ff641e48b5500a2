"""Correlation and rank correlation of many rows at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def ranks(values: Tensor) -> Tensor:
    """Ranks (N,P) float64 from 1 on of each row of ``values`` (N,P); ties share their mean rank.

    NaN in all of a row that holds one, which has no order.

    Example:
        >>> ranks(torch.tensor([[0.2, 0.9, 0.2, 0.1]])).tolist()
        [[2.5, 4.0, 2.5, 1.0]]
    """
    values = values.double()
    ordered, place = values.sort(1)
    level = F.pad((ordered[:, 1:] != ordered[:, :-1]).cumsum(1), (1, 0))
    count = torch.zeros_like(ordered).scatter_add_(1, level, torch.ones_like(ordered))
    mean = count.cumsum(1) - (count - 1) / 2
    found = torch.empty_like(ordered).scatter_(1, place, mean.gather(1, level))
    return found.masked_fill(values.isnan().any(1, keepdim=True), torch.nan)


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


def kendall(values: Tensor) -> Tensor:
    """Kendall's tau-b (R,K,K) float64 between all K columns of ``values`` (R,P,K), each over its P rows.

    Of all pairs of rows that neither column ties, those in the same order less those in opposite ones, over the
    geometric mean of the numbers of pairs that the one and the other order. NaN with a column that is the same in all
    rows, and with one that holds NaN.

    Example:
        >>> found = kendall(torch.tensor([[[1.0, 1.0, 7.0], [2.0, 3.0, 7.0], [3.0, 2.0, 7.0]]]))[0]
        >>> found[0].round(decimals=4).tolist()
        [1.0, 0.3333, nan]
    """
    first, second = torch.triu_indices(values.shape[1], values.shape[1], 1, device=values.device)
    order = torch.sign(values[:, first].double() - values[:, second].double())
    ordered = order.square().sum(1)
    silent = (ordered == 0) | values.isnan().any(1)  # the sign of NaN is 0
    found = order.mT @ order / (ordered[:, :, None] * ordered[:, None]).sqrt()
    return found.masked_fill(silent[:, :, None] | silent[:, None], torch.nan)


def weighted_spearman(values: Tensor, weights: Tensor) -> Tensor:
    """Spearman's rank correlation (R,K,K) float64 between all K columns, where each row is there so many times.

    The same as that of rows which are written down ``weights`` times; so a resample needs no sorting of its own.

    Args:
        values: (P,K) without NaN.
        weights: (R,P), how often each row is there.

    Returns:
        NaN with a column that is the same in all rows that are there.

    Example:
        >>> rows = torch.tensor([[1.0, 4.0], [2.0, 6.0], [3.0, 5.0]])
        >>> weighted_spearman(rows, torch.tensor([[1.0, 1.0, 1.0], [1.0, 1.0, 0.0]]))[:, 0, 1].tolist()
        [0.5, 1.0]
    """
    weights = weights.double()
    deviations = torch.stack([_centred_ranks(column, weights) for column in values.unbind(1)], 2)
    products = torch.einsum("rpk,rpl->rkl", deviations * weights[..., None], deviations)
    squares = products.diagonal(dim1=1, dim2=2)
    flat = squares <= 1e-9  # ranks are multiples of a half, so that the least spread that there is is larger
    found = (products / (squares[:, :, None] * squares[:, None]).sqrt()).clamp(-1, 1)
    return found.masked_fill(flat[:, :, None] | flat[:, None], torch.nan)


def _centred_ranks(values: Tensor, weights: Tensor) -> Tensor:
    """(R,P): mean ranks of values (P,) that are there ``weights`` (R,P) times, less their mean."""
    levels, level = values.unique(return_inverse=True)
    counts = weights.new_zeros(len(weights), len(levels)).index_add_(1, level, weights)
    ranks = (counts.cumsum(1) - counts / 2)[:, level]
    return ranks - (ranks * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)


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
