"""Cooperative games: what each of n players adds to the value of those that play; laws to draw them by, estimators.

A coalition S is a row (n,) of 0 and 1, where 1 plays, and v(S) its value. Covert and Lee (2021) and Covert et al.
(2024) have the estimators; that they need no matrix is written out in docs/shapley.md.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

MOST_PLAYERS = 16  # of whom all coalitions are valued: 65,536 values


def size_law(players: int) -> Tensor:
    """KernelSHAP's law of sizes, p(k) ~ 1 / (k (n - k)) for k = 1 … n-1; (n-1,) in float64.

    Example:
        >>> size_law(4)
        tensor([0.3636, 0.2727, 0.3636], dtype=torch.float64)
    """
    k = torch.arange(1, players, dtype=torch.float64)
    weights = 1 / (k * (players - k))
    return weights / weights.sum()


def kernel_coalitions(drawn: Tensor) -> Tensor:
    """Coalitions by KernelSHAP's law: a size by ``size_law``, then all coalitions of exactly that size alike.

    Args:
        drawn: (…,n+1) uniform in [0,1); the first number is for the size.

    Returns:
        (…,n) of 0 and 1, with at least one player in and one out.
    """
    n = drawn.shape[-1] - 1
    upto = size_law(n).cumsum(0)[:-1].to(drawn)
    sizes = torch.bucketize(drawn[..., 0].contiguous(), upto, right=True) + 1
    ranks = drawn[..., 1:].argsort(-1).argsort(-1)
    return (ranks < sizes[..., None]).to(drawn.dtype)


def uniform_coalitions(drawn: Tensor) -> Tensor:
    """Coalitions (…,n) of uniform numbers ``drawn`` (…,n): each player is in by 1/2."""
    return (drawn < 0.5).to(drawn.dtype)


def any_size_coalitions(drawn: Tensor) -> Tensor:
    """Coalitions of which every size is alike, from nobody to all: player i is in where u_i is below the row's u.

    Args:
        drawn: (…,n+1) uniform in [0,1); the first number is the row's.

    Returns:
        (…,n) of 0 and 1.
    """
    return (drawn[..., 1:] < drawn[..., :1]).to(drawn.dtype)


def with_complements(coalitions: Tensor) -> Tensor:
    """(…,2m,n): each of the coalitions (…,m,n), then, in the same order, who was left out of it."""
    return torch.cat([coalitions, 1 - coalitions], -2)


def every_coalition(players: int) -> Tensor:
    """(2^n,n): row r has the players whose bits are set in r, so that the first row is nobody and the last all.

    Raises:
        ValueError: more than 16 players.
    """
    if players > MOST_PLAYERS:
        raise ValueError(f"{players} players have {2**players} coalitions; {MOST_PLAYERS} players at most")
    rows = torch.arange(2**players)
    return ((rows[:, None] >> torch.arange(players)) & 1).float()


def shapley_estimate(coalitions: Tensor, values: Tensor, nobody: Tensor, everybody: Tensor) -> Tensor:
    """Unbiased estimate of Shapley values from coalitions drawn by KernelSHAP's law; it adds up to v(all) - v(none).

    With b = mean_k S_k (v(S_k) - v(none)) and H = 1 + 1/2 + … + 1/(n-1),
    a = 2 H (b - mean_i b_i) + (v(all) - v(none)) / n.
    Half as much noise, or less, is left where each coalition comes with its complement.

    Args:
        coalitions: (…,k,n).
        values: (…,k,c), of c games.
        nobody: v(none), (…,c).
        everybody: v(all), (…,c).

    Returns:
        (…,n,c).
    """
    count, n = coalitions.shape[-2:]
    b = coalitions.mT @ (values - nobody[..., None, :]) / count
    harmonic = sum(1 / k for k in range(1, n))
    return 2 * harmonic * (b - b.mean(-2, keepdim=True)) + ((everybody - nobody) / n)[..., None, :]


def banzhaf_estimate(coalitions: Tensor, values: Tensor) -> Tensor:
    """Estimate (…,n,c) of Banzhaf values from ``uniform_coalitions``: a_i = mean_k (S_ki - 1/2)(v_k - mean v) / (1/4).

    Unbiased where every coalition comes with its complement: each player is then in just half of them, and the mean
    of v, which comes from the same draws, has no part in it. Without complements it is too small by 1/k.

    Args:
        coalitions: (…,k,n).
        values: (…,k,c), of c games.
    """
    centred = values - values.mean(-2, keepdim=True)
    return 4 * (coalitions - 0.5).mT @ centred / coalitions.shape[-2]


def exact_shapley(values: Tensor) -> Tensor:
    """Shapley values (n,c) of the values (2^n,c) of ``every_coalition``: the mean of what a player adds, over orders.

    Example:
        >>> exact_shapley(torch.tensor([[0.0], [1.0], [2.0], [4.0]]))
        tensor([[1.5000],
                [2.5000]])
    """
    n = len(values).bit_length() - 1
    sizes = every_coalition(n).sum(1).long()
    # k! (n-1-k)! / n! of the k that are in before the player comes
    weights = torch.tensor([1 / (n * math.comb(n - 1, k)) for k in range(n)], dtype=torch.float64)
    rows = torch.arange(len(values))
    found = []
    for i in range(n):
        without = rows[(rows >> i) & 1 == 0]
        adds = values[without + (1 << i)].double() - values[without].double()
        found.append((weights[sizes[without]][:, None].to(adds.device) * adds).sum(0))
    return torch.stack(found).to(values.dtype)


def exact_banzhaf(values: Tensor) -> Tensor:
    """Banzhaf values (n,c) of the values (2^n,c) of ``every_coalition``: the mean of what a player adds, over all."""
    n = len(values).bit_length() - 1
    signs = (2 * every_coalition(n) - 1).to(values)
    found: Tensor = signs.mT @ values / 2 ** (n - 1)
    return found
