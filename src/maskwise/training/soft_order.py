"""The order of scores, softened so that it has gradients: which cells are among the first, at any share of them.

Insertion and deletion take cells in the order of a map's values. Both ways here give for a share q of all cells a soft
indicator of the q d highest, in [0,1]: a gate about a quantile, and Sinkhorn's doubly stochastic matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST_SPREAD = 1e-3  # scores that differ by less are nearly flat, and their standardisation would be all noise
SPREAD = 3.0  # standard deviation of the scores that a Sinkhorn matrix reads, where ranks lie in [0,1]


def standardised(scores: Tensor) -> Tensor:
    """(s - mean) / std of each row of (N,d), with gradients through mean and deviation; zeros where all are equal.

    Softness then means the same whatever the scale of the scores.
    """
    centred = scores - scores.mean(1, keepdim=True)
    return centred / (centred.square().mean(1, keepdim=True) + SMALLEST_SPREAD**2).sqrt()


def quantile_gate(scores: Tensor, share: float, tau: float) -> Tensor:
    """sigmoid((z - t) / tau): (N,d) of scores (N,d), about 1 where z is among the ``share`` highest of its row.

    z are the standardised scores, and t, halfway between the last that is in and the first that is out, has no
    gradient: with one, raising a cell would lower all others by as much as they are in its way. With tau to 0 it is the
    hard indicator of round(share d) cells.

    Args:
        scores: (N,d), any scale.
        share: in (0,1).
        tau: width of the edge in standard deviations, above 0.
    """
    z = standardised(scores)
    return torch.sigmoid((z - _threshold(z.detach(), share)) / tau)


def _threshold(z: Tensor, share: float) -> Tensor:
    """(N,1): what share d of a row lie above; between neighbours it is interpolated."""
    count = z.shape[1]
    place = min(max(share * count - 0.5, 0.0), count - 1.0)  # from the highest
    ordered = z.sort(1, descending=True).values
    low = min(int(place), count - 2) if count > 1 else 0
    after = ordered[:, min(low + 1, count - 1)]
    return torch.lerp(ordered[:, low], after, place - low)[:, None]


def sinkhorn_order(
    scores: Tensor, tau: float, sweeps: int = 30, noise: Tensor | None = None, spread: float = SPREAD
) -> Tensor:
    """Doubly stochastic (N,d,d) of scores (N,d): row k says which cell has rank k, the highest first.

    L_kc = (-(s_c - r_k)^2 + noise_kc) / tau with ranks r_k from 1 to 0, whose rows and columns are normalised in turn
    (Mena et al. 2018; the reading of AHA's released code). After that only 2 s_c r_k / tau is left of the square, so
    that the sorter works in a window of scales: at tau 0.3, with Gumbel noise and 14x14 cells, the first quarter has
    .25 of its mass on the true quarter where the scores' deviation is .01, .45 at 1, .65 at 3, .82 at 18 and .53 at
    1,000, where thirty sweeps no longer reach rows that add up to one (benchmarks/soft_order.py). Scores are therefore
    standardised, to a deviation of ``spread``.

    Args:
        scores: any scale.
        tau: softness, above 0.
        sweeps: normalisations of rows and columns.
        noise: (N,d,d), such as Gumbel noise; None is none.
        spread: deviation of the standardised scores.
    """
    count = scores.shape[1]
    ranks = torch.linspace(1, 0, count, device=scores.device, dtype=scores.dtype)
    logits = -(spread * standardised(scores)[:, None] - ranks[:, None]).square()
    logits = (logits if noise is None else logits + noise) / tau
    for _ in range(sweeps):
        logits = logits - logits.logsumexp(2, keepdim=True)
        logits = logits - logits.logsumexp(1, keepdim=True)
    return logits.exp()


def first_of(order: Tensor, share: float) -> Tensor:
    """(N,d) in [0,1]: the sum of the first share d rows of (N,d,d), the last of them in part."""
    count = order.shape[1]
    parts = (share * count - torch.arange(count, device=order.device, dtype=order.dtype)).clamp(0, 1)
    return torch.einsum("k,nkc->nc", parts, order).clamp(0, 1)


def gumbel_noise(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """-log(-log u) with u uniform, by the global generator."""
    tiny = torch.finfo(like.dtype).tiny
    uniform = torch.rand(shape, device=like.device, dtype=like.dtype).clamp(tiny, 1 - 1e-7)
    return -(-uniform.log()).log()
