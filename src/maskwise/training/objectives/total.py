"""Several objectives, each with its weight and regularisers, as one loss; lambda may follow a target area."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from maskwise.total_variation import Form, total_variation
from maskwise.training.objectives.base import Judged, Side, When, objectives

PROPORTIONAL = 1.5  # of log lambda, per relative deviation from the target area
FURTHEST = 3.0  # relative deviation that looking ahead may add


class Term(BaseModel):
    """One objective's share of the loss."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weight: float = Field(default=1.0, gt=0)
    lambda_r: float = Field(default=10.0, ge=0, description="of the mask's mean, where the objective lets it shrink")
    tv: float = Field(default=0.0, ge=0, description="of the total variation")


class Total:
    """sum_k weight_k (loss_k + lambda_k mean_n r_kn (|m_n| - 1) + tv_k TV(m)), with |m| the mean of the mask.

    The constant -1 keeps the released loss's scale; it has no gradient. (CASM Eq. 7; Phang et al. 2021, Eq. 4-6.)

    Args:
        terms: by the objective's registered name.
        when: the masked-out condition's reading.
        tv_form: the total variation's reading.
        target_area: steer all lambdas towards this mean mask; None leaves them as they are.
        area_gain: how fast the integral part follows.
        area_lookahead: steps, by which the area is thought to go on as in the last one before it is compared.
    """

    def __init__(
        self,
        terms: Mapping[str, Term],
        when: When = "disagree",
        tv_form: Form = "paper",
        target_area: float | None = None,
        area_gain: float = 0.01,
        area_lookahead: float = 0.0,
    ) -> None:
        self.parts = [(objectives.get(name)(when), term) for name, term in terms.items()]
        self.tv_form: Form = tv_form
        self.target_area, self.area_gain, self.area_lookahead = target_area, area_gain, area_lookahead
        self.drift, self.factor = 0.0, 1.0
        self.area: float | None = None  # of the step before

    @property
    def sides(self) -> dict[Side, float]:
        """Which masked pictures are needed, with the weight that the objectives on them have together."""
        weights: dict[Side, float] = {}
        for objective, term in self.parts:
            weights[objective.side] = weights.get(objective.side, 0.0) + term.weight
        return weights

    def __call__(self, judged: Judged) -> Tensor:
        area = judged.masks.mean((1, 2))
        tv = (
            total_variation(judged.masks, self.tv_form)
            if any(term.tv for _, term in self.parts)
            else area.new_zeros(())
        )
        total = area.new_zeros(())
        for objective, term in self.parts:
            shrink = (objective.shrinks(judged) * (area - 1)).mean()
            total = total + term.weight * (objective.loss(judged) + self.factor * term.lambda_r * shrink + term.tv * tv)
        return total

    def steer(self, area: float) -> None:
        """With a target area: lambdas grow while masks are larger than it and fall while they are smaller.

        A proportional and a slowly integrated part, both on log lambda. The integral alone swings for ever, since
        masks follow lambda only after some steps. Looking ahead damps what is left of that: the optimiser's momentum
        carries masks on from where lambda would have been right, down to nothing or up to the whole picture.
        """
        if self.target_area is None:
            return
        off = (area - self.target_area) / self.target_area
        self.drift = min(max(self.drift + self.area_gain * off, -3.0), 3.0)
        ahead = self.area_lookahead * (area - (area if self.area is None else self.area)) / self.target_area
        self.area = area
        near, far = min(max(off, -1.0), 1.0), min(max(ahead, -FURTHEST), FURTHEST)
        self.factor = math.exp(self.drift + PROPORTIONAL * (near + far))

    def state_dict(self) -> dict[str, Any]:
        return {"drift": self.drift, "factor": self.factor, "area": self.area}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.drift, self.factor, self.area = state["drift"], state["factor"], state.get("area")
