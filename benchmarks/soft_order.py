"""The figure of docs/ranking.md: how sharply soft orders find the first quarter of cells, by the scale of the scores.

    python benchmarks/soft_order.py docs/images/ranking.png

Scores of 14x14 cells are normal draws. What is drawn is the share of the soft mask's mass that lies on the true quarter
(chance is a quarter), and the mask's mean, which should be a quarter, both means over 16 draws.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from maskwise.training.soft_order import first_of, gumbel_noise, quantile_gate, sinkhorn_order

CELLS, DRAWS, QUARTER = 196, 16, 0.25
SCALES = [10 ** (k / 4) for k in range(-8, 13)]
SWEEPS = 30


def raw_sinkhorn(scores: Tensor) -> Tensor:
    """As released: ranks in [0,1], scores as they are."""
    ranks = torch.linspace(1, 0, CELLS)
    logits = (-(scores[:, None] - ranks[:, None]).square() + gumbel_noise((DRAWS, CELLS, CELLS), scores)) / 0.3
    for _ in range(SWEEPS):
        logits = logits - logits.logsumexp(2, keepdim=True)
        logits = logits - logits.logsumexp(1, keepdim=True)
    return first_of(logits.exp(), QUARTER)


def standard_sinkhorn(scores: Tensor) -> Tensor:
    noise = gumbel_noise((DRAWS, CELLS, CELLS), scores)
    return first_of(sinkhorn_order(scores, 0.3, SWEEPS, noise), QUARTER)


def gate(scores: Tensor) -> Tensor:
    return quantile_gate(scores, QUARTER, 0.1)


def found(soft: Callable[[Tensor], Tensor], scale: float) -> tuple[float, float]:
    """The share on the true quarter, and the mean."""
    torch.manual_seed(0)
    scores = scale * torch.randn(DRAWS, CELLS)
    mask = soft(scores)
    best = scores.argsort(1, descending=True)[:, : CELLS // 4]
    return float((mask.gather(1, best).sum(1) / mask.sum(1)).mean()), float(mask.mean())


def main(path: Path) -> None:
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    kinds = {
        "Sinkhorn, tau 0.3, scores as they are": raw_sinkhorn,
        "Sinkhorn, tau 0.3, standardised": standard_sinkhorn,
        "quantile gate, tau 0.1": gate,
    }
    for style, (name, soft) in zip(("o-", "s-", "^-"), kinds.items(), strict=True):
        shares, means = zip(*(found(soft, scale) for scale in SCALES), strict=True)
        print(f"{name}: share {min(shares):.2f} to {max(shares):.2f}, mean {min(means):.2f} to {max(means):.2f}")
        axes[0].plot(SCALES, shares, style, markersize=4, label=name)
        axes[1].plot(SCALES, means, style, markersize=4)
    for axis, title in zip(axes, ("mass on the true quarter", "mean of the soft mask"), strict=True):
        axis.axhline(QUARTER, color="0.6", linestyle=":")
        axis.set(xscale="log", ylim=(0, 1.03), xlabel="standard deviation of the scores", title=title)
    axes[0].legend(fontsize=8, loc="lower right")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
