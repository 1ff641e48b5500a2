"""AreaPower: masks of all classes are small, faint places most of all (Ntrougkas et al. 2024)."""

from __future__ import annotations

from torch import Tensor

from maskwise.training.objectives.base import AreaObjective, Judged, objectives

TINY = 5e-4  # keeps the slope of m^power finite at 0


@objectives.register("area_power", paper="Ntrougkas et al. 2024")
class AreaPower(AreaObjective):
    """Mean (m + 0.0005)^power over the masks of all classes of a picture, those that it does not show among them.

    Its total variation is of all these masks, added up.
    """

    def loss(self, judged: Judged) -> Tensor:
        every = judged.masks_by_class.every
        return every.mean((every.masks + TINY).pow(self.term.power).mean((2, 3)))

    def regularised(self, judged: Judged) -> Tensor:
        return judged.masks_by_class.every.kept
