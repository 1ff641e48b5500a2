"""The game of a picture's cells: g x g squares are the players, and the value of some is the score with only these."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from itertools import pairwise
from math import isqrt
from typing import ClassVar, Literal, get_args

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.token_mask import patch_grid
from maskwise.core.errors import InputError
from maskwise.core.option_types import IS_SET, OnlyWith
from maskwise.core.options import one_of, ranges
from maskwise.explainers.coalitions import MOST_PLAYERS, every_coalition
from maskwise.explainers.perturb import Perturbation, generators
from maskwise.explainers.targets import Scoring, Targets

Holes = Literal["colour", "tokens"]


def cell_masks(coalitions: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks (…,H,W) of coalitions (…,g*g), which are of cells row by row; edges are at round(k side / g).

    Example:
        >>> cell_masks(torch.tensor([1.0, 0.0, 0.0, 1.0]), (2, 3)).tolist()
        [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    """
    grid = isqrt(coalitions.shape[-1])
    cells: Tensor = coalitions.unflatten(-1, (grid, grid))
    for axis, side in ((-2, size[0]), (-1, size[1])):
        edges = [round(k * side / grid) for k in range(grid + 1)]
        widths = torch.tensor([b - a for a, b in pairwise(edges)], device=cells.device)
        cells = cells.repeat_interleave(widths, axis, output_size=side)
    return cells


class CellGame(Perturbation):
    """A method whose map is a value for each cell.

    Cells that don't play have the classifier's mean colour, or are not there at all (``holes``).

    Args:
        classifier: what is explained.
        masks: coalitions that are valued, an even number, each with its complement; None values all 2^(g g) of them.
        grid: g, cells a side, at most the classifier's pixels.
        scoring: ``probability`` of the class, or its ``logit``.
        signed: give the values as they are, of both signs, where else each map is stretched to [0,1]. Of
            probabilities they lie in [-1,1]; those of logits are cut off there.
        holes: ``colour``, the mean colour where cells don't play; or ``tokens``: a transformer does not see their
            patches, as if they were not there (Covert et al. 2023), and what none of them gives is the class token's
            answer alone.
        seed: of the coalitions; each picture draws its own.
        batch: masked pictures in one forward.

    Raises:
        InputError: a number out of range, an unknown scoring, or ``holes="tokens"`` of a network that is no
            transformer of timm's with a class token.
    """

    only_with: ClassVar[OnlyWith] = {"seed": {"masks": IS_SET}}

    def __init__(
        self,
        classifier: Classifier,
        masks: int | None = 256,
        grid: int = 4,
        scoring: Scoring = "probability",
        signed: bool = False,
        holes: Holes = "colour",
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        super().__init__(classifier, batch)
        if grid < 2:
            raise InputError(f"grid is at least 2 cells a side, not {grid}")
        one_of("holes", holes, get_args(Holes))
        self.holes = holes
        # Rows and columns of tokens, where these are dropped. A cell has a pixel, or a token.
        self._patches = patch_grid(classifier.module, classifier.name) if holes == "tokens" else None
        ranges(grid=(grid, 2, min(self._patches or classifier.size)))
        if masks is None and grid * grid > MOST_PLAYERS:
            raise InputError(f"all coalitions (masks=None) of {grid * grid} cells are too many: grid is 4 at most then")
        if masks is not None and (masks < 2 or masks % 2):
            raise InputError(f"masks come in pairs, a coalition and its complement: an even number, not {masks}")
        one_of("scoring", scoring, get_args(Scoring))
        self.masks, self.grid, self.scoring, self.seed = masks, grid, scoring, seed
        self.signed, self.normalise = signed, not signed

    @abstractmethod
    def drawn(self, generators: list[torch.Generator], pairs: int) -> Tensor:
        """Coalitions (N,2 pairs,n), complements included, each picture's by its own generator."""

    @abstractmethod
    def estimate(self, coalitions: Tensor, values: Tensor, clean: Tensor, empty: Tensor) -> Tensor:
        """Values (N,n,K) of the cells, of the values (N,k,K) of drawn coalitions, (N,K) of all and (N,K) of none."""

    @abstractmethod
    def exact(self, values: Tensor) -> Tensor:
        """Values (n,K) of the cells, of the values (2^n,K) of every coalition."""

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            clean = self.classifier.normalise(images)
            logits = self.classifier.network(clean)
            targets = targets.resolved(logits)
            values = targets.by(self.scoring)
            if self.masks is None:
                every = every_coalition(self.grid**2).to(images.device).expand(len(images), -1, -1)
                found = torch.stack([self.exact(row) for row in self._valued(clean, every, values)])
            else:
                draws = generators(images, self.seed)
                coalitions = self.drawn(draws, self.masks // 2).to(images.device)
                scored = self._valued(clean, coalitions, values)
                nobody = self._answer(clean[:1], torch.zeros_like(coalitions[:1, :1])).expand(len(clean), -1)
                found = self.estimate(coalitions, scored, values(logits, None).float(), values(nobody, None).float())
            maps: Tensor = found.mT.unflatten(2, (self.grid, self.grid))
            return maps

    def _valued(self, clean: Tensor, coalitions: Tensor, values: Callable[[Tensor, Tensor | None], Tensor]) -> Tensor:
        """Values (N,k,K) of coalitions (N,k,n) of normalised pictures (N,C,H,W)."""
        parts = []
        for first, last in self.chunks(len(clean), coalitions.shape[1]):
            some = coalitions[:, first:last]

            def ask(part: slice, some: Tensor = some) -> Tensor:
                return self._answer(clean[part], some[part])

            parts.append(self.score_logits(ask, len(clean), last - first, values))
        return torch.cat(parts, 1)

    def _answer(self, clean: Tensor, coalitions: Tensor) -> Tensor:
        """Logits (N k,C) where only the cells of coalitions (N,k,n) are there; in ``clean`` 0 is the mean colour."""
        if self._patches is not None:
            shown = cell_masks(coalitions, self._patches).flatten(0, 1) > 0
            return self.classifier.network(clean.repeat_interleave(coalitions.shape[1], 0), token_mask=shown)
        masks = cell_masks(coalitions, (clean.shape[-2], clean.shape[-1]))
        copies = (clean[:, None] * masks[:, :, None]).flatten(0, 1)
        return self.classifier.network(copies.contiguous(memory_format=torch.channels_last))
