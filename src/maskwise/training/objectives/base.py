"""An objective: a loss on one side of the mask, and a rule that says which masks may shrink."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor

from maskwise.core.registry import Registry
from maskwise.training.class_wise import ByClass, ClassMasks
from maskwise.training.likelihood import Categorical, Likelihood
from maskwise.training.objectives.term import Term

Side = Literal["in", "out"]
When = Literal["fooled", "wrong", "changed"]


@dataclass(frozen=True)
class Judged:
    """One batch as the objectives see it.

    Attributes:
        clean: logits (B,K) of the whole pictures.
        masked: logits (B,K) of the masked-in and masked-out pictures, those that are needed.
        labels: (B,) classes, or (B,K) bool, sets of findings, as ``likelihood`` takes them.
        masks: (B,H,W) in [0,1]; of several classes that a picture shows, their union.
        likelihood: what logits say of labels: a softmax over classes, or a sigmoid for each finding.
        by_class: the masks of single classes; None where a masker reads no class.
        images: (B,c,H,W) in [0,1], for regularisers that look at them.
    """

    clean: Tensor
    masked: Mapping[Side, Tensor]
    labels: Tensor
    masks: Tensor
    likelihood: Likelihood = field(default_factory=Categorical)
    by_class: ByClass | None = None
    images: Tensor | None = None

    @property
    def masks_by_class(self) -> ByClass:
        """The masks of single classes; a masker that reads no class has one mask a picture."""
        if self.by_class is not None:
            return self.by_class
        there = torch.ones(len(self.masks), 1, dtype=torch.bool, device=self.masks.device)
        return ByClass(ClassMasks(self.masks[:, None], there))

    @property
    def right(self) -> Tensor:
        """(B,) bool: the clean picture is classified correctly."""
        return self.likelihood.right(self.clean, self.labels)


class Objective(ABC):
    """A loss on the pictures of one ``side``, to be minimised, and the condition of its L1 regulariser.

    Args:
        when: which reading of the masked-out condition (see ``shrinks_out``).
        term: what the recipe says of it; an objective reads its own settings there.
    """

    side: ClassVar[Side | None]  # None looks at masks alone

    def __init__(self, when: When = "fooled", term: Term | None = None) -> None:
        self.when, self.term = when, term or Term()

    @abstractmethod
    def loss(self, judged: Judged) -> Tensor:
        """Mean over the batch, a scalar."""

    @abstractmethod
    def shrinks(self, judged: Judged) -> Tensor:
        """(B,) bool: masks that already do their work, and are made smaller."""

    def regularised(self, judged: Judged) -> Tensor:
        """Masks (B,H,W) or (B,K,H,W) whose total variation is added."""
        return judged.masks


class AreaObjective(Objective):
    """One that looks at masks alone, and at no masked picture."""

    side = None

    def shrinks(self, judged: Judged) -> Tensor:
        """None of them: the loss itself says how large masks shall be."""
        return torch.zeros(len(judged.masks), dtype=torch.bool, device=judged.masks.device)


objectives: Registry[type[Objective]] = Registry("objective")


def shrinks_out(judged: Judged, when: When) -> Tensor:
    """(B,) bool: what is left outside of the mask no longer shows the class, or any of the findings.

    ``fooled``: the clean picture is classified correctly and the masked-out one is not (CASM section 4 and its code).
    ``wrong``: the masked-out one is not, whatever the clean one is (Phang et al. A.1). ``changed``: both predictions
    differ, which no paper has: pictures that are wrong when clean then feel the regulariser alone, and their masks
    vanish.
    """
    answer = judged.masked["out"]
    if when == "changed":
        return judged.likelihood.differs(judged.clean, answer)
    wrong = ~judged.likelihood.shows(answer, judged.labels)
    return judged.right & wrong if when == "fooled" else wrong
