"""NonTarget: of a class that the picture does not show, nothing is there to be found (Stalder et al. 2022)."""

from __future__ import annotations

from torch import Tensor

from maskwise.training.objectives.base import AreaObjective, Judged, objectives


@objectives.register("non_target", paper="Stalder et al. 2022")
class NonTarget(AreaObjective):
    """The mean of the union of masks of classes that the picture does not show; its total variation is the union's.

    The paper's network draws all of few classes, and the union is over all that are not there. Of many classes some
    are sampled anew in each step (a recipe's ``negatives``).
    """

    def loss(self, judged: Judged) -> Tensor:
        return self.regularised(judged).mean()

    def regularised(self, judged: Judged) -> Tensor:
        others = judged.masks_by_class.others
        assert others is not None, "the recipe asks for no other classes"
        return others.union()
