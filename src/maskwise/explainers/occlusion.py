"""Occlusion: how much the score falls where a square hides the picture."""

from __future__ import annotations

from typing import get_args

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.explainers.base import methods
from maskwise.explainers.perturb import Perturbation, are_probabilities
from maskwise.explainers.targets import Scoring, Targets


@methods.register(
    "occlusion",
    family="perturbation",
    paper="Zeiler & Fergus 2014",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 + (side / stride + 1)^2 forwards",
)
class Occlusion(Perturbation):
    """Mean, over the squares that cover a pixel, of score(x) - score(x with that square grey) (section 4.2).

    Args:
        classifier: what is explained.
        window: side of the square, as a share of the picture's side.
        stride: step of the square, as a share of the picture's side; the last one lies flush with the edge.
        scoring: ``probability`` of the class, as in the paper, or its ``logit``.
        batch: occluded pictures in one forward.

    Raises:
        InputError: a window or stride outside (0,1], or an unknown scoring.
    """

    def __init__(
        self,
        classifier: Classifier,
        window: float = 1 / 7,
        stride: float = 1 / 28,
        scoring: Scoring = "probability",
        batch: int | None = None,
    ) -> None:
        super().__init__(classifier, batch)
        if not (0 < window <= 1 and 0 < stride <= 1):
            raise InputError(f"window and stride are shares of the side, in (0,1], not {window} and {stride}")
        one_of("scoring", scoring, get_args(Scoring))
        self.window, self.stride, self.scoring = window, stride, scoring

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            clean = self.classifier.normalise(images)
            logits = self.classifier.network(clean)
            targets = targets.resolved(logits)
            values = targets.by(self.scoring)
            before = values(logits, None).float()
            self.scored(before[:, None], are_probabilities(values))
            rows, columns = (self._covers(side, images.device) for side in images.shape[-2:])
            down, across = len(rows), len(columns)
            drops = torch.empty(len(images), down * across, targets.count, device=images.device)
            for first, last in self.chunks(len(images), down * across):
                at = torch.arange(first, last, device=images.device)
                hidden = rows[at // across][:, :, None] * columns[at % across][:, None]  # (k,H,W), 1 in the square

                def make(part: slice, hidden: Tensor = hidden) -> Tensor:
                    copies = (clean[part, None] * (1 - hidden)[None, :, None]).flatten(0, 1)
                    return copies.contiguous(memory_format=torch.channels_last)

                after = self.score(make, len(images), last - first, values)
                drops[:, first:last] = before[:, None] - after
            # Squares are outer products of rows and columns, so their weighted sum is two matrix products.
            drops = drops.transpose(1, 2).unflatten(2, (down, across))
            total = torch.einsum("nkyx,yh,xw->nkhw", drops, rows, columns)
            return total / (rows.sum(0)[:, None] * columns.sum(0)[None])

    def _covers(self, side: int, device: torch.device) -> Tensor:
        """(places, side): 1 where the window of each place lies."""
        window, stride = max(round(self.window * side), 1), max(round(self.stride * side), 1)
        starts = [*range(0, side - window, stride), side - window]
        pixels = torch.arange(side, device=device)
        first = torch.tensor(starts, device=device)[:, None]
        return ((pixels >= first) & (pixels < first + window)).float()
