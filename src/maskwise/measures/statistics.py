"""What maps look like, without any truth: area, its spread, entropy, total variation (CASM, section 5.3)."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_tensor
from maskwise.core.total_variation import total_variation
from maskwise.measures.base import Metric, metrics
from maskwise.measures.inputs import unit_maps


def area(maps: Tensor | np.ndarray) -> Tensor:
    """Mean (N,) of each map (N,H,W)."""
    return unit_maps(as_tensor(maps)).mean((1, 2))


def mask_entropy(maps: Tensor | np.ndarray, two_sided: bool = True) -> Tensor:
    """Mean (N,) over pixels of -m log2 m - (1-m) log2 (1-m), in bits; one-sided: of -m log2 m alone.

    Example:
        >>> mask_entropy(torch.tensor([[[0.5, 1.0]]])).tolist()
        [0.5]
    """
    maps = unit_maps(as_tensor(maps))
    bits = -torch.special.xlogy(maps, maps)
    if two_sided:
        bits = bits - torch.special.xlogy(1 - maps, 1 - maps)
    entropies: Tensor = bits.mean((1, 2)) / np.log(2)
    return entropies


@metrics.register(
    "area",
    family="mask statistics",
    title="area",
    paper="CASM (Zolna et al. 2020), section 5.3",
    says="the map's values are {value} on the mean, where 0 marks nothing and 1 marks everything",
    unit="",
    higher_is_better=None,
    needs=(),
)
class Area(Metric):
    """Mean of the maps, in [0,1]."""

    def per_image(self, maps: Tensor) -> Tensor:
        return area(maps)[:, None]


@metrics.register(
    "area_std",
    family="mask statistics",
    title="spread of the area",
    paper="CASM (Zolna et al. 2020), section 5.3",
    says="the share of the picture that is marked differs from picture to picture by {value}, as a standard deviation",
    unit="",
    higher_is_better=None,
    needs=(),
)
class AreaStd(Metric):
    """Standard deviation of the maps' areas over all pictures (n - 1); the released code takes it batch by batch."""

    def __init__(self) -> None:
        super().__init__()
        self.reserve(2)

    def per_image(self, maps: Tensor) -> Tensor:
        areas = area(maps)
        return torch.stack([areas, areas**2], 1)

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        spread = total[..., 1] - total[..., 0] ** 2 / count
        return (spread.clamp(min=0) / (count - 1).where(count > 1, torch.nan)).sqrt()


@metrics.register(
    "entropy",
    family="mask statistics",
    title="entropy",
    paper="binary entropy of each pixel",
    says=(
        "the map leaves {value} of doubt in each pixel on the mean: 0 is a clear yes or no everywhere, 1 is "
        "undecided everywhere"
    ),
    unit="bits",
    higher_is_better=None,
    needs=(),
)
class Entropy(Metric):
    """Mean over pixels of -m log2 m - (1-m) log2 (1-m): 0 for a binary map, 1 where all is 0.5."""

    def per_image(self, maps: Tensor) -> Tensor:
        return mask_entropy(maps)[:, None]


@metrics.register(
    "entropy_one_sided",
    family="mask statistics",
    title="entropy, one-sided",
    paper="CASM (Zolna et al. 2020), released code",
    says="the map's values have {value} of -m log2 m on the mean, which is 0 where all is a clear yes or no",
    unit="bits",
    higher_is_better=None,
    needs=(),
)
class EntropyOneSided(Metric):
    """Mean over pixels of -m log2 m."""

    def per_image(self, maps: Tensor) -> Tensor:
        return mask_entropy(maps, two_sided=False)[:, None]


@metrics.register(
    "tv_sum",
    family="mask statistics",
    title="total variation, sum",
    paper="CASM (Zolna et al. 2020), section 5.3",
    says="the squared steps between neighbouring pixels of a map add up to {value}: smooth maps have little",
    unit="",
    higher_is_better=None,
    needs=(),
)
class TotalVariationSum(Metric):
    """Sum of squared differences of neighbours; grows with the size of the map."""

    def per_image(self, maps: Tensor) -> Tensor:
        return total_variation(unit_maps(as_tensor(maps)))[:, None]


@metrics.register(
    "tv_mean",
    family="mask statistics",
    title="total variation, mean",
    paper="CASM (Zolna et al. 2020), released code",
    says="the squared step between neighbouring pixels of a map is {value} on the mean: smooth maps have little",
    unit="",
    higher_is_better=None,
    needs=(),
)
class TotalVariationMean(Metric):
    """Mean of squared differences across plus mean of those down."""

    def per_image(self, maps: Tensor) -> Tensor:
        return total_variation(unit_maps(as_tensor(maps)), "mean")[:, None]
