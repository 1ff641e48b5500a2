"""MeanArea: masks are small, whether they do their work or not (Stalder et al. 2022)."""

from __future__ import annotations

from torch import Tensor

from maskwise.training.objectives.base import AreaObjective, Judged, objectives


@objectives.register("mean_area", paper="Stalder et al. 2022")
class MeanArea(AreaObjective):
    """The mean of the masks; ``lambda_r`` of other objectives counts only masks that they let shrink."""

    def loss(self, judged: Judged) -> Tensor:
        return judged.masks.mean()
