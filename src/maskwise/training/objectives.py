"""What a mask is trained for: the score on the masked-out picture and the conditional regulariser (CASM Eq. 5-7)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from maskwise.registry import Registry
from maskwise.training.recipe import Recipe


@dataclass(frozen=True)
class Judged:
    """One batch as the objective sees it: clean and masked-out logits (B,K), labels (B,), masks (B,H,W)."""

    clean: Tensor
    masked: Tensor
    labels: Tensor
    masks: Tensor

    @property
    def right(self) -> Tensor:
        """(B,) bool: the clean picture is classified correctly."""
        return self.clean.argmax(1) == self.labels


PROPORTIONAL = 1.5  # of log lambda_r, per relative deviation from the target area

Score = Callable[[Judged], Tensor]
scores: Registry[Score] = Registry("objective")


def entropy(logits: Tensor) -> Tensor:
    """Entropy (B,), in nats, of softmax(logits)."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1)


@scores.register("entropy", equation="CASM Eq. 6, S=E")
def entropy_score(judged: Judged) -> Tensor:
    """Mean over the batch of the entropy of the masked-out prediction, where the clean one is right."""
    return (judged.right * entropy(judged.masked)).mean()


@scores.register("classification", equation="CASM Eq. 5, S=C")
def classification_score(judged: Judged) -> Tensor:
    """Mean cross entropy of the masked-out pictures, over all of them."""
    return F.cross_entropy(judged.masked, judged.labels)


class MaskOut:
    """CASM Eq. 7 as a loss: - score + lambda_r * mean_n r_n (|m_n| - 1), with |m| the mean of the mask.

    r_n is where the mask already does its work and may shrink: clean and masked predictions differ
    (``disagree``, the paper), or the clean one is right and the masked one wrong (``fooled``, released code).
    The constant -1 keeps the released loss's scale; it has no gradient.
    """

    def __init__(self, recipe: Recipe) -> None:
        self.score = scores.get(recipe.objective)
        self.when = recipe.regularise_when
        self.start = self.lambda_r = recipe.lambda_r
        self.target_area, self.area_gain = recipe.target_area, recipe.area_gain
        self.drift = 0.0

    def regularised(self, judged: Judged) -> Tensor:
        """(B,) bool: whose mask is made to shrink."""
        guess = judged.masked.argmax(1)
        if self.when == "disagree":
            return judged.clean.argmax(1) != guess
        return judged.right & (guess != judged.labels)

    def __call__(self, judged: Judged) -> Tensor:
        area = judged.masks.mean((1, 2))
        regulariser = (self.regularised(judged) * (area - 1)).mean()
        return self.lambda_r * regulariser - self.score(judged)

    def steer(self, area: float) -> None:
        """With a target area: lambda_r grows while masks are larger than it and falls while they are smaller.

        A proportional and a slowly integrated part, both on log lambda_r. The integral alone swings for ever,
        since masks follow lambda_r only after some steps.
        """
        if self.target_area is None:
            return
        off = (area - self.target_area) / self.target_area
        self.drift = min(max(self.drift + self.area_gain * off, -3.0), 3.0)
        self.lambda_r = self.start * math.exp(self.drift + PROPORTIONAL * min(max(off, -1.0), 1.0))

    def state_dict(self) -> dict[str, float]:
        return {"lambda_r": self.lambda_r, "drift": self.drift}

    def load_state_dict(self, state: dict[str, float]) -> None:
        self.lambda_r, self.drift = state["lambda_r"], state["drift"]
