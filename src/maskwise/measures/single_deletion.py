"""IDSDS: does a map rank a picture's cells by what the class loses without each of them? (Hesse et al. 2024)"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.box import as_maps, as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.correlation import spearman
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.infill import Infiller
from maskwise.measures.base import metrics
from maskwise.measures.filling import HoleFill, fill_of, scores_without
from maskwise.measures.inputs import fitting_maps
from maskwise.measures.scoring import (
    ClassifierMetric,
    FollowedClass,
    asked_for,
    class_logits,
    classes_followed,
    whole_logits,
)
from maskwise.measures.shared_scores import shared


def cell_numbers(height: int, width: int, cells: int) -> Tensor:
    """Which of cells x cells equal parts each pixel (H,W) belongs to, row by row; they differ by a pixel at most.

    Raises:
        InputError: cells would be without a pixel.

    Example:
        >>> cell_numbers(2, 4, 2).tolist()
        [[0, 0, 1, 1], [2, 2, 3, 3]]
    """
    if min(height, width) < cells:
        raise InputError(
            f"{cells} cells a side need as many pixels, and a picture has {height}x{width}: ask for fewer cells"
        )
    rows, columns = (torch.arange(side) * cells // side for side in (height, width))
    return rows[:, None] * cells + columns


def cell_drops(
    classifier: Classifier,
    images: Tensor,
    fill: HoleFill,
    targets: Tensor | None = None,
    cells: int = 4,
    batch: int | None = None,
) -> Tensor:
    """What the class's logit loses without each cell: (N,cells^2), float64; arguments as ``single_deletion``."""
    images = images.to(classifier.device)
    n, parts = len(images), cells**2
    number = cell_numbers(images.shape[-2], images.shape[-1], cells).to(images.device)
    whole = whole_logits(classifier, images, batch)
    classes = classes_followed(whole, targets)
    left = scores_without(
        fill.each_draw(images, classifier.mean),
        lambda _rows, cell: number == cell[:, None, None],
        n,
        parts,
        lambda of, copies: class_logits(classifier, len(of), copies, batch, classes[of]),
    )
    return whole.gather(1, classes[:, None]) - left


def single_deletion(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | np.ndarray,
    fill: HoleFill,
    targets: Tensor | None = None,
    cells: int = 4,
    signed: bool = True,
    batch: int | None = None,
) -> Tensor:
    """Spearman's correlation (N,) of a map's sum in each cell with what the class's logit loses without it.

    Args:
        classifier: gives the logits.
        images: (N,3,H,W) in [0,1].
        maps: (N,H,W), any scale and sign.
        fill: what stands in the cell that is gone.
        targets: (N,) classes to follow; None: the likeliest of each whole picture.
        cells: a side.
        signed: of the loss; False takes its size, for maps that say how much a place matters and not which way.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.

    Returns:
        (N,) in [-1,1]; 0 where the map, or what is lost, is the same in all cells.
    """
    maps = fitting_maps(images, as_maps(maps)).double()
    drops = shared(cell_drops, classifier, images, fill, targets, cells, batch)
    number = cell_numbers(maps.shape[1], maps.shape[2], cells).to(drops.device)
    member = F.one_hot(number.flatten(), cells**2).double()
    return spearman(maps.to(drops.device).flatten(1) @ member, drops if signed else drops.abs(), flat=0.0)


@metrics.register(
    "idsds",
    family="faithfulness",
    title="single deletion (IDSDS)",
    paper="Hesse et al. 2024",
    says=(
        "the order in which the map puts sixteen parts of the picture agrees to {value} with what hiding each "
        "costs: 1 is the same order, 0 no relation, -1 the reverse"
    ),
    unit="",
    higher_is_better=True,
    needs=("images",),
    takes=("targets",),
)
class SingleDeletion(ClassifierMetric):
    """Does the map rank 16 parts of the picture as the class's score does when each is hidden alone?

    Spearman's correlation of the map's sum in each cell with what the logit loses without it, mean over pictures.
    The paper's protocol trains the classifier on pictures without a cell first, so that such a picture is nothing
    new to it; ``fill`` brings the picture to the classifier instead, or give a classifier that was trained so.

    Args:
        classifier: gives the logits.
        cells: a side; 4 as in the paper.
        signed: of the loss, as in the paper; False takes its size, for maps that lost their sign on the way to [0,1].
        fill: an infiller by name that stands in the cell; the ``mean`` colour is zero in normalised pictures.
        draws: logits are means over so many fills by different random numbers.
        target: follow the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
    """

    def __init__(
        self,
        classifier: Classifier,
        cells: int = 4,
        signed: bool = True,
        fill: str | Infiller = "mean",
        draws: int = 1,
        target: FollowedClass = "predicted",
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("target", target, ("predicted", "class"))
        if not isinstance(cells, int) or cells < 2:
            raise InputError(f"cells must be a whole number of at least 2, not {cells!r}")
        self.filled = fill_of(fill, "step", draws)
        self.fill = self.filled.text()
        self.cells, self.signed, self.draws, self.target = cells, signed, draws, target

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        asked = asked_for(self.target, targets)
        given = self.classifier, images, maps, self.filled, asked, self.cells, self.signed, self.batch
        return single_deletion(*given)[:, None].to(as_tensor(maps).device)
