"""MaxEnt(O): what the mask leaves shall show no class at all (CASM Eq. 6; Phang et al. 2021)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from maskwise.training.objectives.base import Judged, Objective, Side, objectives, shrinks_out


@objectives.register("max_entropy", paper="CASM Eq. 6 (entropy); Phang et al. 2021")
class MaxEntropy(Objective):
    """Minus the entropy of the masked-out prediction where the clean one is right, over the whole batch's size."""

    side: ClassVar[Side] = "out"

    def loss(self, judged: Judged) -> Tensor:
        entropy = judged.likelihood.entropy(judged.masked["out"], judged.labels)
        return -(judged.right * entropy).mean()

    def shrinks(self, judged: Judged) -> Tensor:
        return shrinks_out(judged, self.when)
