"""Total variation of maps: how long and how steep their edges are."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

TotalVariation = Literal["paper", "released", "mean", "l1"]
BORDER = 0.3  # of the squares along the picture's edge, in the released form


def total_variation(
    maps: Tensor, form: TotalVariation = "paper", beta: float = 2.0, weights: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """sum |dm/dx|^beta + |dm/dy|^beta of each map, dx and dy being differences of neighbours.

    Args:
        maps: (...,H,W).
        form: ``paper``, the sum (Dabkowski & Gal 2017; Phang et al. 2021); ``released``, as the code of both has it
            while training: 0.3 times the powers of the four border lines are added, and the whole is halved;
            ``mean``, as the code of both measures it: the mean across plus the mean down; or ``l1``, the mean of
            |dm/dx| + |dm/dy| over all pixels, whatever ``beta``, as the code of Stalder et al. 2022 has it: its border
            is reflected, so that the last difference of each line counts twice.
        beta: 2 in those papers, 3 in Fong & Vedaldi 2017, 1 is the anisotropic L1 form.
        weights: what differences down (...,H-1,W) and across (...,H,W-1) count, as ``edge_weights`` gives them; None is
            one each. The released form's border lines count in full.

    Returns:
        (...,).

    Example:
        >>> import torch
        >>> total_variation(torch.tensor([[[0.0, 1.0], [0.0, 1.0]]])).tolist()
        [2.0]
    """
    steps = [_power(maps.diff(dim=dim), 1 if form == "l1" else beta) for dim in (-2, -1)]
    if weights is not None:
        steps = [step * weight for step, weight in zip(steps, weights, strict=True)]
    if form == "l1":
        reflected = (_reflected(step, dim) for step, dim in zip(steps, (-2, -1), strict=True))
        return sum(reflected, maps.new_zeros(())) / (maps.shape[-2] * maps.shape[-1])
    down, across = (step.flatten(-2) for step in steps)
    if form == "mean":
        return across.sum(-1) / max(across.shape[-1], 1) + down.sum(-1) / max(down.shape[-1], 1)
    total = across.sum(-1) + down.sum(-1)
    if form == "released":
        lines = (maps[..., 0, :], maps[..., -1, :], maps[..., 0], maps[..., -1])
        total = (total + BORDER * sum(_power(line, beta).sum(-1) for line in lines)) / 2
    return total


def edge_weights(images: Tensor, scale: float = 0.1) -> tuple[Tensor, Tensor]:
    """exp(-mean_c |dI| / scale) of pictures (B,c,H,W) in [0,1], down (B,H-1,W) and across (B,H,W-1).

    With them a map's edge costs little where the picture has one, and as much as ever where it is flat.
    """
    down, across = ((-images.diff(dim=dim).abs().mean(1) / scale).exp() for dim in (-2, -1))
    return down, across


def _power(values: Tensor, beta: float) -> Tensor:
    return values.square() if beta == 2 else values.abs() if beta == 1 else values.abs().pow(beta)


def _reflected(differences: Tensor, dim: int) -> Tensor:
    """(...,), the sum of differences along ``dim``, the last of which counts twice."""
    return differences.sum((-2, -1)) + differences.narrow(dim, differences.shape[dim] - 1, 1).sum((-2, -1))
