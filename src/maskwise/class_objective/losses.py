"""The objective of Dabkowski & Gal (2017) as the paper writes it and as it was released."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.core.total_variation import total_variation

Reading = Literal["paper", "released"]
TINY = 1e-8  # keeps the slope of p^0.3 finite at 0


@dataclass(frozen=True)
class Seen:
    """One batch as the objective sees it.

    Attributes:
        masks: (B,H,W) in [0,1], at the pictures' size.
        kept: logits (B,C) of what the masks keep, Phi(X, M).
        gone: logits (B,C) of what they leave, Phi(X, 1 - M).
        labels: (B,) the pictures' true classes, also where the mask was made for a fake one.
        real: (B,) bool: was the mask made for the true class?
    """

    masks: Tensor
    kept: Tensor
    gone: Tensor
    labels: Tensor
    real: Tensor


@dataclass(frozen=True)
class Paper:
    """tv TV(M) + area AV(M) - log f_c(Phi(X, M)) + destroy f_c(Phi(X, 1 - M))^power, mean over the batch.

    TV is the sum of squared differences of neighbours, AV the mean of the mask, f_c a softmax probability. A mask made
    for a fake class is to hold nothing of the true class c, so the two pictures change places for it: that is how the
    released code treats fakes, and the paper does not say.
    """

    tv: float = 1e-3
    area: float = 10.0
    destroy: float = 5.0
    power: float = 0.3

    def __call__(self, seen: Seen) -> dict[str, Tensor]:
        """The terms, weighted; their sum is the loss."""
        real, label = seen.real[:, None], seen.labels[:, None]
        evident = F.log_softmax(torch.where(real, seen.kept, seen.gone).float(), 1).gather(1, label)
        absent = F.softmax(torch.where(real, seen.gone, seen.kept).float(), 1).gather(1, label)
        return {
            "smooth": self.tv * total_variation(seen.masks).mean(),
            "small": self.area * seen.masks.mean(),
            "preserve": -evident.mean(),
            "destroy": self.destroy * (absent + TINY).pow(self.power).mean(),
        }


@dataclass(frozen=True)
class Released:
    """area mean (M + .0005)^power + tv TV(M) + preserve preserver + destroyer, hinges on logits, mean over the batch.

    With m = best other logit - the class's own (``margin``), a picture that must show the class pays relu(m + t),
    one that must not relu(u - m), after Carlini & Wagner. For a real class the preserved picture must show it (t =
    1) and the destroyed one must not (u = 5); for a fake one it is the other way round (u = 1, t = 1). TV is
    halved, and has 0.3 times the squares of the four border lines before that.
    """

    area: float = 8.0
    power: float = 0.3
    tv: float = 0.005
    preserve: float = 0.3
    shows: float = 1.0
    hides: float = 5.0
    fake: float = 1.0

    def __call__(self, seen: Seen) -> dict[str, Tensor]:
        """The terms, weighted; their sum is the loss."""
        kept, gone = margin(seen.kept.float(), seen.labels), margin(seen.gone.float(), seen.labels)
        preserver = torch.where(seen.real, F.relu(kept + self.shows), F.relu(self.fake - kept))
        destroyer = torch.where(seen.real, F.relu(self.hides - gone), F.relu(gone + self.fake))
        return {
            "smooth": self.tv * total_variation(seen.masks, "released").mean(),
            "small": self.area * (seen.masks + 5e-4).pow(self.power).mean(),
            "preserve": self.preserve * preserver.mean(),
            "destroy": destroyer.mean(),
        }


def margin(logits: Tensor, classes: Tensor) -> Tensor:
    """(B,) best logit of the other classes minus that of ``classes`` (B,), of logits (B,C)."""
    own = F.one_hot(classes, logits.shape[1]).bool()
    return logits.masked_fill(own, -torch.inf).amax(1) - logits.gather(1, classes[:, None])[:, 0]
