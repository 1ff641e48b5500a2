"""How alike two maps of one picture are: rank correlation, HOG correlation, SSIM."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from skimage.feature import hog
from torch import Tensor

from maskwise.checks.rows import Values
from maskwise.core.correlation import pearson, ranks
from maskwise.core.errors import InputError
from maskwise.core.registry import Registry

AT_ONCE = 256  # pictures; at 224 pixels their maps and four descriptions take 0.7 GB
similarities: Registry[type[Similarity]] = Registry("similarity")


class Similarity(ABC):
    """Base: 1 for equal maps, undefined (NaN) where one of two different maps has nothing to correlate.

    A similarity says what is compared (``describe``, once a map), and usually that is all: by default descriptions are
    compared by Pearson's correlation.

    Args:
        logits: the maps are mask logits, of any sign and size, and not values in [0,1].
    """

    def __init__(self, logits: bool = False) -> None:
        self.logits = logits

    @abstractmethod
    def describe(self, maps: Tensor) -> Tensor:
        """What is compared, (N,…) float64, of maps (N,H,W)."""

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        """(N,) of two descriptions, which differ."""
        return pearson(a, b)

    def between(self, a: Tensor, b: Tensor) -> Tensor:
        """(N,) of two descriptions: exactly 1 where they are equal, however flat."""
        return torch.where((a == b).flatten(1).all(1), 1.0, self.compare(a, b))

    def protocol(self) -> dict[str, Any]:
        """Settings that stand beside the numbers."""
        return {}

    def __call__(self, a: Tensor, b: Tensor) -> Tensor:
        """Similarities (N,) float64 of maps (N,H,W) and (N,H,W), pair by pair.

        Raises:
            InputError: shapes that differ, or that are not (N,H,W).

        Example:
            >>> ramp = torch.arange(64.0).reshape(1, 8, 8) / 63
            >>> Spearman()(ramp, ramp**3).tolist(), Ssim()(ramp, ramp**3).round(decimals=2).tolist()
            ([1.0], [0.54])
        """
        if a.ndim != 3 or a.shape != b.shape:
            raise InputError(f"maps to be compared must both be (N,H,W), not {tuple(a.shape)} and {tuple(b.shape)}")
        return self.between(self.describe(a), self.describe(b))


@similarities.register("spearman", title="Spearman's rank correlation")
class Spearman(Similarity):
    """Pearson's correlation of the pixels' ranks; ties share their mean rank."""

    def describe(self, maps: Tensor) -> Tensor:
        return ranks(maps.flatten(1))


@similarities.register("spearman_abs", title="Spearman's rank correlation of |distance from undecided|")
class SpearmanAbs(Similarity):
    """Spearman of |v - centre|: two maps are alike, too, where one is the other's negative.

    Args:
        logits: the maps are mask logits.
        centre: the undecided value. None is 0.5 of maps in [0,1] and 0 of logits, which ranks pixels as 0.5 of the
            mask does. The released code takes 0.5 of logits, too.
    """

    def __init__(self, logits: bool = False, centre: float | None = None) -> None:
        super().__init__(logits)
        self.centre = (0.0 if logits else 0.5) if centre is None else centre

    def describe(self, maps: Tensor) -> Tensor:
        return ranks((maps.double() - self.centre).abs().flatten(1))

    def protocol(self) -> dict[str, Any]:
        return {"centre": self.centre}


@similarities.register("hog", title="correlation of histograms of oriented gradients")
class Hog(Similarity):
    """Pearson's correlation of skimage's HOG vectors: 16x16 pixels a cell, 3x3 cells a block, 9 orientations.

    Maps of less than 48 pixels, which do not hold one block, have cells of a third of their shorter side.
    """

    cell, block, orientations = 16, 3, 9

    def describe(self, maps: Tensor) -> Tensor:
        side = min(maps.shape[-2:])
        if side < self.block:
            raise InputError(f"HOG needs maps of at least {self.block}x{self.block} pixels, not {tuple(maps.shape)}")
        cell = min(self.cell, side // self.block)
        vectors = [
            hog(m, self.orientations, pixels_per_cell=(cell, cell), cells_per_block=(self.block, self.block))
            for m in maps.detach().cpu().double().numpy()
        ]
        return torch.from_numpy(np.stack(vectors))

    def protocol(self) -> dict[str, Any]:
        small = f"a third of the shorter side, below {self.cell * self.block} pixels"
        return {
            "cell": self.cell, "cell_of_small_maps": small, "block": self.block, "orientations": self.orientations
        }  # fmt: skip


@similarities.register("ssim", title="structural similarity")
class Ssim(Similarity):
    """SSIM with a flat 5x5 window and sample covariance, mean over all windows within the map; never undefined.

    Args:
        logits: the maps are mask logits.
        data_range: of the values. None is 1 of maps in [0,1]; of logits it is 2, what the scikit-image of the released
            code took for any floats.
    """

    window, k1, k2 = 5, 0.01, 0.03

    def __init__(self, logits: bool = False, data_range: float | None = None) -> None:
        super().__init__(logits)
        self.data_range = (2.0 if logits else 1.0) if data_range is None else data_range
        if not self.data_range > 0:
            raise InputError(f"SSIM's data_range must be above 0, not {self.data_range}")

    def describe(self, maps: Tensor) -> Tensor:
        if min(maps.shape[-2:]) < self.window:
            raise InputError(f"SSIM needs maps of at least {self.window}x{self.window} pixels, not {tuple(maps.shape)}")
        return maps.double()

    def compare(self, a: Tensor, b: Tensor) -> Tensor:
        pixels = self.window**2
        mean_a, mean_b, aa, bb, ab = (
            F.avg_pool2d(m[:, None], self.window, stride=1)[:, 0] for m in (a, b, a * a, b * b, a * b)
        )
        sample = pixels / (pixels - 1)
        var_a, var_b, cov = sample * (aa - mean_a**2), sample * (bb - mean_b**2), sample * (ab - mean_a * mean_b)
        c1, c2 = (self.k1 * self.data_range) ** 2, (self.k2 * self.data_range) ** 2
        alike = (2 * mean_a * mean_b + c1) * (2 * cov + c2) / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))
        return alike.mean((1, 2))

    def protocol(self) -> dict[str, Any]:
        return {"window": self.window, "data_range": self.data_range}


Measures = Mapping[str, Similarity] | Sequence[str] | None


def chosen_similarities(measures: Measures, logits: bool) -> dict[str, Similarity]:
    """Similarities by name, or as the caller made them; None is all that are registered.

    Raises:
        InputError: an unknown name, or none at all.
    """
    if isinstance(measures, Mapping):
        return dict(measures)
    found = {name: similarities.get(name)(logits) for name in (similarities.names() if measures is None else measures)}
    if not found:
        raise InputError(f"there is nothing to compare by: name some of {', '.join(similarities.names())}")
    return found


def chunks(images: Values, batch: int) -> list[Tensor]:
    """Indices of pictures (N,…) that are compared at once: whole batches, few enough for maps and descriptions."""
    return list(torch.arange(len(images)).split(max(AT_ONCE // batch, 1) * batch))


class Comparison:
    """Maps (N,H,W) that others are held against, described once."""

    def __init__(self, maps: Tensor, measures: Mapping[str, Similarity]) -> None:
        self.measures = measures
        self.described = {name: measure.describe(maps) for name, measure in measures.items()}

    def __call__(self, maps: Tensor) -> dict[str, Tensor]:
        """Similarities (N,) of other maps of the same pictures, by name."""
        return {
            name: measure.between(self.described[name], measure.describe(maps))
            for name, measure in self.measures.items()
        }
