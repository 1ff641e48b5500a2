"""Shapley values of a picture's cells: exactly, or by KernelSHAP's law without bias."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.explainers.base import methods
from maskwise.explainers.cell_game import CellGame
from maskwise.explainers.coalitions import exact_shapley, kernel_coalitions, shapley_estimate, with_complements
from maskwise.explainers.perturb import uniform


@methods.register(
    "kernel_shap",
    family="perturbation",
    paper="Lundberg, Lee 2017; unbiased by Covert, Lee 2021",
    needs_gradients=False,
    needs_target=True,
    random=True,
    cost="2 + masks forwards",
)
class KernelShap(CellGame):
    """Shapley values: what a cell adds to those that are there already, the mean over all orders they may come in.

    They add up to the score of the picture less that of a picture of mean colour. Coalitions are drawn by the law of
    KernelSHAP, and the estimate is the closed, unbiased one (``shapley_estimate``), not a regression: its errors
    average out over pictures, so that its maps may teach a masker. With ``masks=None`` it is exact.
    """

    def drawn(self, generators: list[torch.Generator], pairs: int) -> Tensor:
        return with_complements(kernel_coalitions(uniform(generators, pairs, self.grid**2 + 1)))

    def estimate(self, coalitions: Tensor, values: Tensor, clean: Tensor, empty: Tensor) -> Tensor:
        return shapley_estimate(coalitions, values, empty, clean)

    def exact(self, values: Tensor) -> Tensor:
        return exact_shapley(values)
