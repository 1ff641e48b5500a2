"""MinClass(O): what the mask leaves shall not show the class (CASM Eq. 5, S=C; Phang et al. 2021)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from maskwise.training.objectives.base import Judged, Objective, Side, objectives, shrinks_out


@objectives.register("min_class", paper="CASM Eq. 5 (classification); Phang et al. 2021")
class MinClass(Objective):
    """Minus the mean cross entropy of the masked-out pictures, over all of them; it has no lower bound."""

    side: ClassVar[Side] = "out"

    def loss(self, judged: Judged) -> Tensor:
        return -judged.likelihood.cross_entropy_of_shown(judged.masked["out"], judged.labels)

    def shrinks(self, judged: Judged) -> Tensor:
        return shrinks_out(judged, self.when)
