"""Contrasts as targets: what speaks for one class rather than for others ("cat - dog", FinerCAM)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.labels import Labels

FINER = "finer"
MINUS = " - "


@dataclass(frozen=True)
class Contrast:
    """The score y_c - weight * (mean of y_d over others d): why this class, and not those.

    After FinerCAM (Zhang et al., CVPR 2025). Which classes these are is settled on the clean picture, once: a masked
    copy is asked about the same ones.

    Args:
        target: the class, by index, name or WordNet id; None is the picture's top class.
        against: the others, one or several, or an empty list for the class alone. Where it is None, those ``nearest``
            whose scores on the clean picture differ least from the target's.
        weight: of the others; 0 is the class alone.
        nearest: how many, where none are named.

    Raises:
        InputError: a weight that is no number, or ``nearest`` below 1.

    Example:
        >>> Contrast("cat", "dog")
        Contrast(target='cat', against='dog', weight=1.0, nearest=3)
    """

    target: int | str | None = None
    against: int | str | Sequence[int | str] | None = None
    weight: float = 1.0
    nearest: int = 3

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight) or self.nearest < 1:
            raise InputError(f"a contrast has a finite weight and at least 1 nearest class, not {self}")

    @classmethod
    def parsed(cls, text: str, labels: Labels) -> Contrast | None:
        """``A - B``, ``A - finer`` or ``finer``; None where the text is a class's own name, or has none of these forms.

        Raises:
            InputError: one side is no class.
        """
        if text.strip() == FINER:
            return cls()
        if MINUS not in text:
            return None
        try:
            labels.resolve(text)
        except InputError:
            target, _, other = (part.strip() for part in text.partition(MINUS))
            return cls(labels.resolve(target), None if other == FINER else labels.resolve(other))
        return None

    def others(self, labels: Labels) -> list[int] | None:
        """Indices of those that are named."""
        if self.against is None:
            return None
        named = [self.against] if isinstance(self.against, (int, str)) else list(self.against)
        return [labels.resolve(one) for one in named]

    def described(self, labels: Labels, top: str) -> str:
        """In words, for captions, the class itself first; ``top`` is what the top class is called."""
        one = top if self.target is None else labels.name(labels.resolve(self.target))
        others = self.others(labels)
        rest = f"its {self.nearest} nearest" if others is None else ", ".join(map(labels.name, others))
        return f"{one}{MINUS}{rest}"

    def goal(self, logits: Tensor, labels: Labels) -> Tensor:
        """Coefficients (C,) of the scores of a clean picture with these logits (C,).

        Raises:
            InputError: unknown class, one against itself, or fewer other classes than ``nearest``.
        """
        chosen = int(logits.argmax()) if self.target is None else labels.resolve(self.target)
        others = self.others(labels)
        if others is None:
            if len(logits) <= self.nearest:
                raise InputError(
                    f"of {len(logits)} classes there are no {self.nearest} others: say `against` or `nearest`"
                )
            away = (logits - logits[chosen]).abs()
            away[chosen] = torch.inf
            others = away.topk(self.nearest, largest=False).indices.tolist()
        if chosen in others:
            raise InputError(f"{labels.name(chosen)!r} can't be explained against itself")
        goal = torch.zeros_like(logits)
        goal[others] = -self.weight / max(len(others), 1)
        goal[chosen] = 1
        return goal
