"""Several objectives, each with its weight and regularisers, as one loss; lambda may follow a target area."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from maskwise.core.total_variation import TotalVariation, edge_weights, total_variation
from maskwise.training.objectives.base import Judged, Side, When, objectives
from maskwise.training.objectives.term import Term

PROPORTIONAL = 1.5  # of log lambda, per relative deviation from the target area
FURTHEST = 3.0  # that the integral part, or the relative deviation looking ahead adds, may come to


class Total:
    """The objectives' weighted sum and the mask's regularisers.

    The text of Phang et al. (Eq. 4-6): sum_k weight_k loss_k + R, R = sum_k (lambda_k mean_n r_kn (|m_n| - 1) +
    tv_k TV(m)), with |m| the mean of the mask and r_kn whether objective k lets mask n shrink. Their released code has
    each objective's part of R inside its weight. The constant -1 keeps the released loss's scale; it has no gradient.

    Args:
        terms: by the objective's registered name.
        when: the masked-out condition's reading.
        tv_form: the total variation's reading.
        inside_weights: is R inside the weights, as released?
        target_area: steer all lambdas towards this mean mask; None leaves them as they are.
        area_gain: how fast the integral part follows.
        area_lookahead: steps, by which the area is thought to go on as in the last one before it is compared.
        tv_edges: difference of colour over which the total variation counts 1/e; None looks at no picture.

    Attributes:
        factor: what lambdas are multiplied by; a tensor on the device of the areas once it has been steered, so that
            no step waits for it.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        when: When = "fooled",
        tv_form: TotalVariation = "paper",
        inside_weights: bool = False,
        target_area: float | None = None,
        area_gain: float = 0.01,
        area_lookahead: float = 0.0,
        tv_edges: float | None = None,
    ) -> None:
        self.parts = [(objectives.get(name)(when, term), term) for name, term in terms.items()]
        self.tv_form: TotalVariation = tv_form
        self.inside_weights, self.tv_edges = inside_weights, tv_edges
        self.target_area, self.area_gain, self.area_lookahead = target_area, area_gain, area_lookahead
        self.drift: float | Tensor = 0.0
        self.factor: float | Tensor = 1.0
        self.area: Tensor | None = None  # of the step before

    @property
    def sides(self) -> dict[Side, float]:
        """Which masked pictures are needed, with the weight that the objectives on them have together."""
        weights: dict[Side, float] = {}
        for objective, term in self.parts:
            if objective.side is not None:
                weights[objective.side] = weights.get(objective.side, 0.0) + term.weight
        return weights

    def __call__(self, judged: Judged) -> Tensor:
        area = judged.masks.mean((1, 2))
        total = area.new_zeros(())
        for objective, term in self.parts:
            shrink = (objective.shrinks(judged) * (area - 1)).mean()
            regulariser = self.factor * term.lambda_r * shrink
            if term.tv:  # summed over a picture's masks, where an objective is about several
                masks = objective.regularised(judged)
                tv = total_variation(masks, self.tv_form, weights=self._edges(judged, masks)).reshape(len(area), -1)
                regulariser = regulariser + term.tv * tv.sum(1).mean()
            total = total + term.weight * objective.loss(judged)
            total = total + (term.weight * regulariser if self.inside_weights else regulariser)
        return total

    def _edges(self, judged: Judged, masks: Tensor) -> tuple[Tensor, Tensor] | None:
        """What differences of masks (B,H,W) or (B,K,H,W) count."""
        if self.tv_edges is None:
            return None
        assert judged.images is not None
        down, across = edge_weights(judged.images, self.tv_edges)
        return (down, across) if masks.ndim == 3 else (down[:, None], across[:, None])

    def steer(self, area: Tensor) -> None:
        """With a target area: lambdas grow while masks are larger than it and fall while they are smaller.

        A proportional and a slowly integrated part, both on log lambda. The integral alone swings for ever, since
        masks follow lambda only after some steps. Looking ahead damps what is left of that: the optimizer's momentum
        carries masks on from where lambda would have been right, down to nothing or up to the whole picture.

        Args:
            area: mean mask of the step, a scalar.
        """
        if self.target_area is None:
            return
        off = (area - self.target_area) / self.target_area
        self.drift = (self.drift + self.area_gain * off).clamp(-FURTHEST, FURTHEST)
        ahead = self.area_lookahead * (area - (area if self.area is None else self.area)) / self.target_area
        self.area = area
        self.factor = (self.drift + PROPORTIONAL * (off.clamp(-1, 1) + ahead.clamp(-FURTHEST, FURTHEST))).exp()

    def state_dict(self) -> dict[str, Any]:
        return {"drift": self.drift, "factor": self.factor, "area": self.area}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drift, self.factor, self.area = state["drift"], state["factor"], state["area"]
