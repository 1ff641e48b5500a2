"""Few places of a teacher's map that are surely object or surely background, drawn anew in each step (F-CAM)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.box import above_otsu

ERODED, SIDE = 11, 224  # F-CAM's pixels of a picture of so many
LOWEST = 0.1  # the part of a picture that is background
DILATED = 3  # pixels across of a seed
OBJECT, UNKNOWN, BACKGROUND = 1.0, 0.5, 0.0


def seed_regions(maps: Tensor) -> Tensor:
    """Where seeds may be drawn: (N,H,W) of 1 in the object, 0 in the background and 1/2 elsewhere.

    The object is what lies above Otsu's threshold of a map, eroded by 11 of 224 pixels (a picture's border erodes
    nothing); the background is the lowest tenth of the pixels, and all that are as low (Belharbi et al. 2022).

    Args:
        maps: (N,H,W). One without contrast says nothing: it is 1/2 everywhere.
    """
    maps = maps.float()
    upper = above_otsu(maps)
    side = max(maps.shape[-2:])
    width = 2 * round((ERODED * side / SIDE - 1) / 2) + 1
    inner = -F.max_pool2d(-upper[:, None].float(), width, 1, width // 2)[:, 0] > 0.5 if width > 1 else upper
    lowest = maps.flatten(1).kthvalue(max(1, round(LOWEST * maps[0].numel())), 1).values[:, None, None]
    low = (maps <= lowest) & ~upper & upper.flatten(1).any(1)[:, None, None]
    return torch.full_like(maps, UNKNOWN).masked_fill(inner, OBJECT).masked_fill(low, BACKGROUND)


def drawn_seeds(regions: Tensor, draws: torch.Generator) -> Tensor:
    """One seed of the object and one of the background in each map, 3x3 pixels around a pixel that is drawn.

    Args:
        regions: (N,K,H,W) as ``seed_regions``; what was resized is object or background where it is wholly so.
        draws: on the CPU.

    Returns:
        (N,K,H,W), 1 on seeds of the object, 0 on seeds of the background and 1/2 elsewhere, where both lie, too.
    """
    said = torch.zeros_like(regions)
    for there, value in (((regions > 0.99), 1.0), ((regions < 0.01), -1.0)):
        chance = torch.rand(regions.shape, generator=draws).to(regions.device)
        place = chance.masked_fill(~there, -1).flatten(2).argmax(2, keepdim=True)
        seed = torch.zeros_like(regions).flatten(2).scatter_(2, place, 1.0).reshape(regions.shape)
        seed = seed * there.flatten(2).any(2)[:, :, None, None]
        said += value * F.max_pool2d(seed, DILATED, 1, DILATED // 2)
    return UNKNOWN + said / 2


def on_seeds(values: Tensor, seeds: Tensor) -> Tensor:
    """Mean (scalar) of values (N,K,h,w) at seeds alone; a place counts as much as it is covered by them.

    Args:
        values: any numbers.
        seeds: as ``drawn_seeds``, averaged over each place.
    """
    covered = 2 * (seeds - UNKNOWN).abs()
    return (covered * values).sum() / covered.sum().clamp(min=1e-6)


def seed_loss(logits: Tensor, seeds: Tensor) -> Tensor:
    """Cross entropy (scalar) of logits (N,K,h,w) on seeds."""
    kind = (seeds > UNKNOWN).to(logits)
    return on_seeds(F.binary_cross_entropy_with_logits(logits, kind, reduction="none"), seeds)
