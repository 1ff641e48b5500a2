"""Banzhaf values of a picture's cells: RISE on a fixed grid."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.explainers.base import methods
from maskwise.explainers.cell_game import CellGame
from maskwise.explainers.coalitions import banzhaf_estimate, exact_banzhaf, uniform_coalitions, with_complements
from maskwise.explainers.perturb import uniform


@methods.register(
    "banzhaf",
    family="perturbation",
    paper="Banzhaf 1965; of pictures by Covert, Kim, Zou, Hashimoto 2024",
    needs_gradients=False,
    needs_target=True,
    random=True,
    cost="2 + masks forwards",
)
class Banzhaf(CellGame):
    """Banzhaf values: the mean score where a cell is there less that where it isn't, every other by the toss of a coin.

    This is what RISE with p = 1/2 measures, on a fixed grid, less what is the same for all cells. Its noise is smaller
    than that of Shapley values, and it is unbiased, too; the values don't add up to the score. With ``masks=None`` it
    is exact.
    """

    def drawn(self, generators: list[torch.Generator], pairs: int) -> Tensor:
        return with_complements(uniform_coalitions(uniform(generators, pairs, self.grid**2)))

    def estimate(self, coalitions: Tensor, values: Tensor, clean: Tensor, empty: Tensor) -> Tensor:
        return banzhaf_estimate(coalitions, values)

    def exact(self, values: Tensor) -> Tensor:
        return exact_banzhaf(values)
