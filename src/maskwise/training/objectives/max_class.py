"""MaxClass(I): what the mask keeps shall show the class (Phang et al. 2021, section 3)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from maskwise.training.objectives.base import Judged, Objective, Side, objectives


@objectives.register("max_class", paper="Phang et al. 2021")
class MaxClass(Objective):
    """Mean cross entropy of the masked-in pictures; where they are classified correctly, the mask shrinks."""

    side: ClassVar[Side] = "in"

    def loss(self, judged: Judged) -> Tensor:
        return judged.likelihood.cross_entropy(judged.masked["in"], judged.labels)

    def shrinks(self, judged: Judged) -> Tensor:
        return judged.likelihood.right(judged.masked["in"], judged.labels)
