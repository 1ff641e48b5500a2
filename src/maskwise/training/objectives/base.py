"""An objective: a loss on one side of the mask, and a rule that says which masks may shrink."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch.nn.functional as F
from torch import Tensor

from maskwise.core.registry import Registry

Side = Literal["in", "out"]
When = Literal["fooled", "wrong", "changed"]


@dataclass(frozen=True)
class Judged:
    """One batch as the objectives see it.

    Attributes:
        clean: logits (B,K) of the whole pictures.
        masked: logits (B,K) of the masked-in and masked-out pictures, those that are needed.
        labels: (B,).
        masks: (B,H,W) in [0,1].
    """

    clean: Tensor
    masked: Mapping[Side, Tensor]
    labels: Tensor
    masks: Tensor

    @property
    def right(self) -> Tensor:
        """(B,) bool: the clean picture is classified correctly."""
        return self.clean.argmax(1) == self.labels


class Objective(ABC):
    """A loss on the pictures of one ``side``, to be minimised, and the condition of its L1 regulariser.

    Args:
        when: which reading of the masked-out condition (see ``shrinks_out``).
    """

    side: ClassVar[Side]

    def __init__(self, when: When = "fooled") -> None:
        self.when = when

    @abstractmethod
    def loss(self, judged: Judged) -> Tensor:
        """Mean over the batch, a scalar."""

    @abstractmethod
    def shrinks(self, judged: Judged) -> Tensor:
        """(B,) bool: masks that already do their work, and are made smaller."""


objectives: Registry[type[Objective]] = Registry("objective")


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy (B,), in nats, of softmax(logits)."""
    log_p = F.log_softmax(logits, dim=1)
    return -(log_p.exp() * log_p).sum(1)


def shrinks_out(judged: Judged, when: When) -> Tensor:
    """(B,) bool: what is left outside of the mask no longer shows the class.

    ``fooled``: the clean picture is classified correctly and the masked-out one is not (CASM section 4 and its code).
    ``wrong``: the masked-out one is not, whatever the clean one is (Phang et al. A.1). ``changed``: both predictions
    differ, which no paper has: pictures that are wrong when clean then feel the regulariser alone, and their masks
    vanish.
    """
    guess = judged.masked["out"].argmax(1)
    if when == "changed":
        return judged.clean.argmax(1) != guess
    wrong = guess != judged.labels
    return judged.right & wrong if when == "fooled" else wrong
