"""MuFidelity: does hiding random sets of cells cost the class what the map says? (Bhatt et al. 2020)"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.box import as_maps, as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.correlation import spearman
from maskwise.core.errors import InputError
from maskwise.core.options import in_range, one_of
from maskwise.infill import Infiller
from maskwise.measures.base import metrics
from maskwise.measures.filling import HoleFill, fill_of, scores_without
from maskwise.measures.inputs import fitting_maps
from maskwise.measures.scoring import (
    ClassifierMetric,
    FollowedClass,
    asked_for,
    classes_followed,
    log_probabilities,
    whole_log_probabilities,
)
from maskwise.measures.shared_scores import shared
from maskwise.measures.single_deletion import cell_numbers


def random_subsets(subsets: int, cells: int, share: float, seed: int = 0) -> Tensor:
    """(subsets, cells^2) bool: each cell is in each with the chance ``share``.

    The same for every picture and method, so that methods are compared on the same holes.
    """
    draws = torch.Generator().manual_seed(seed)
    return torch.rand(subsets, cells**2, generator=draws) < share


def subset_drops(
    classifier: Classifier,
    images: Tensor,
    subsets: Tensor,
    fill: HoleFill,
    targets: Tensor | None = None,
    batch: int | None = None,
) -> Tensor:
    """What the class's probability loses without each subset: (N,S), float64; arguments as ``mu_fidelity``."""
    images = images.to(classifier.device)
    number = cell_numbers(images.shape[-2], images.shape[-1], _side(subsets)).to(images.device)
    subsets = subsets.to(images.device)
    whole = whole_log_probabilities(classifier, images, batch)
    classes = classes_followed(whole, targets)
    without = scores_without(
        fill.each_draw(images, classifier.mean),
        lambda _rows, subset: subsets[subset][:, number],
        len(images),
        len(subsets),
        lambda of, copies: log_probabilities(classifier, len(of), copies, batch, classes[of]).exp(),
    )
    return whole.gather(1, classes[:, None]).exp() - without


def _side(subsets: Tensor) -> int:
    """Cells a side of subsets (S, cells^2)."""
    return math.isqrt(subsets.shape[1])


def mu_fidelity(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | np.ndarray,
    subsets: Tensor,
    fill: HoleFill,
    targets: Tensor | None = None,
    batch: int | None = None,
) -> Tensor:
    """Spearman's correlation (N,) over subsets of the map's sum in them with what the class's probability loses.

    Args:
        classifier: gives the probabilities.
        images: (N,3,H,W) in [0,1].
        maps: (N,H,W), any scale and sign.
        subsets: (S, cells^2) bool, the cells that are hidden together.
        fill: what stands in them.
        targets: (N,) classes to follow; None: the likeliest of each whole picture.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.

    Returns:
        (N,) in [-1,1]; 0 where either side is the same for all subsets.
    """
    maps = fitting_maps(images, as_maps(maps)).double()
    drops = shared(subset_drops, classifier, images, subsets, fill, targets, batch)
    cells = _side(subsets)
    member = F.one_hot(cell_numbers(maps.shape[1], maps.shape[2], cells).flatten(), cells**2).double()
    in_cells = maps.to(drops.device).flatten(1) @ member.to(drops.device)
    return spearman(in_cells @ subsets.to(drops.device).double().T, drops, flat=0.0)


@metrics.register(
    "mu_fidelity",
    family="faithfulness",
    title="MuFidelity",
    paper="Bhatt et al. 2020, as in xplique",
    says=(
        "what the map gives to random sets of cells and what hiding them costs agree to {value}: 1 is the "
        "same order, 0 no relation"
    ),
    unit="",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class MuFidelity(ClassifierMetric):
    """Does hiding random sets of cells cost the class the more, the more salient the map calls them?

    Spearman's correlation over the sets, mean over pictures.

    Args:
        classifier: gives the probabilities.
        subsets: random sets of cells.
        cells: a side.
        share: chance of each cell to be in a set.
        fill: an infiller by name that stands in them.
        draws: probabilities are means over so many fills by different random numbers.
        seed: of the sets, which are the same for every picture and method.
        target: follow the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
    """

    def __init__(
        self,
        classifier: Classifier,
        subsets: int = 200,
        cells: int = 9,
        share: float = 0.2,
        fill: str | Infiller = "mean",
        draws: int = 1,
        seed: int = 0,
        target: FollowedClass = "predicted",
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("target", target, ("predicted", "class"))
        for name, value, least in (("cells", cells, 2), ("subsets", subsets, 2), ("seed", seed, 0)):
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
        in_range("share", share, 0, 1, above=True)
        if share == 1:
            raise InputError("share must be below 1: sets that hold all cells are all the same")
        self.filled = fill_of(fill, "step", draws)
        self.fill = self.filled.text()
        self.subsets, self.cells, self.share, self.seed = subsets, cells, share, seed
        self.draws, self.target = draws, target

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        asked = asked_for(self.target, targets)
        subsets = random_subsets(self.subsets, self.cells, self.share, self.seed)
        found = mu_fidelity(self.classifier, images, maps, subsets, self.filled, asked, self.batch)
        return found[:, None].to(as_tensor(maps).device)
