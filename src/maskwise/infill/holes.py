"""Random irregular holes, to train and to measure infillers with."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

GRID = (3, 9)  # cells a side of the noise that blobs are cut from: few cells, large blobs


def random_holes(
    count: int, side: int, draws: torch.Generator, area: tuple[float, float] = (0.1, 0.8), soft: float = 0.0
) -> Tensor:
    """Holes (count,side,side) in [0,1], 1 = missing: half of them blobs, half brush strokes, some with blobs as well.

    Blobs are smooth noise cut at the level that gives them their area; so is a saliency mask's complement, the hole
    of a masked-in picture, where the area is large.

    Args:
        count: how many.
        side: in pixels.
        draws: where they come from.
        area: of blobs, as part of the picture, least and most; strokes cover what they cover.
        soft: share of the blobs that have soft edges.
    """
    holes = blobs(count, side, draws, area, soft)
    seeds = torch.randint(2**31, (count,), generator=draws).tolist()
    kinds = torch.rand(count, generator=draws)
    for i, (seed, kind) in enumerate(zip(seeds, kinds.tolist(), strict=True)):
        if kind < 0.5:
            painted = torch.from_numpy(strokes(side, np.random.default_rng(seed)))
            holes[i] = painted if kind < 0.35 else torch.maximum(holes[i], painted)
    return holes


def blobs(
    count: int, side: int | tuple[int, int], draws: torch.Generator, area: tuple[float, float], soft: float
) -> Tensor:
    """(count,side,side), or (count,h,w) of such a pair: smooth noise above a level of its own."""
    cells = torch.randint(GRID[0], GRID[1] + 1, (count,), generator=draws).tolist()
    noise = torch.cat([smooth_noise(n, side, draws) for n in cells])
    share = area[0] + (area[1] - area[0]) * torch.rand(count, generator=draws)
    level = torch.stack([x.quantile(1 - float(s)) for x, s in zip(noise.flatten(1), share, strict=True)])
    above = noise - level[:, None, None]
    is_soft = torch.rand(count, 1, 1, generator=draws) < soft
    return torch.where(is_soft, torch.sigmoid(8 * above), (above > 0).float())


def smooth_noise(cells: int, side: int | tuple[int, int], draws: torch.Generator) -> Tensor:
    """(1,side,side), or (1,h,w): a normal number at each of cells x cells points, enlarged bicubically."""
    coarse = torch.randn(1, 1, cells, cells, generator=draws)
    return F.interpolate(coarse, (side, side) if isinstance(side, int) else side, mode="bicubic", align_corners=True)[0]


def strokes(side: int, draws: np.random.Generator) -> np.ndarray:
    """(side,side) float32: one to six brush strokes that turn as they go."""
    canvas = np.zeros((side, side), np.float32)
    for _ in range(draws.integers(1, 7)):
        turns = draws.integers(3, 10)
        angles = draws.uniform(0, 2 * np.pi) + np.cumsum(draws.normal(0, 0.8, turns))
        steps = draws.uniform(0.03, 0.2, turns) * side
        path = draws.uniform(0, side, 2) + np.cumsum(np.stack([np.cos(angles), np.sin(angles)], 1) * steps[:, None], 0)
        thickness = max(int(draws.uniform(0.02, 0.14) * side), 1)
        cv2.polylines(canvas, [path.round().astype(np.int32)], False, 1.0, thickness, cv2.LINE_8)
    return canvas
