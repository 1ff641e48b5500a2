"""What a map explains: the top class, one or several named classes of each picture, or a score of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.labels import Labels

Score = Callable[[Tensor], Tensor]
TargetLike = int | str | Sequence[int | str]
TargetsLike = TargetLike | Sequence[TargetLike] | Tensor | Score | None


@dataclass(frozen=True)
class Targets:
    """K targets of each of N pictures.

    Attributes:
        classes: (N,K) int64, or None for the top class of each picture (K = 1).
        score: the caller's own ``logits (n,C) -> (n,)``, instead of classes (K = 1).
    """

    classes: Tensor | None = None
    score: Score | None = None

    @property
    def count(self) -> int:
        return 1 if self.classes is None else self.classes.shape[1]

    def one(self, k: int) -> Targets:
        """The k-th target alone."""
        return self if self.classes is None else Targets(self.classes[:, k : k + 1])

    def of(self, rows: Tensor) -> Targets:
        """The targets of pictures ``rows`` (n,), in that order; a picture may come several times."""
        return self if self.classes is None else Targets(self.classes[rows])

    def resolved(self, logits: Tensor) -> Targets:
        """The top class made definite by the clean pictures' logits (N,C), before anything is perturbed."""
        return Targets(logits.argmax(1, keepdim=True)) if self.classes is None and self.score is None else self

    def classes_of(self, logits: Tensor) -> Tensor:
        """Classes (N,K) that a method can name, of pictures with logits (N,C).

        For a score function it is the class by whose logit the score rises fastest: c for both its logit and its
        probability, a for the difference of the logits of a and b.
        """
        if self.score is None:
            classes = self.resolved(logits).classes
            assert classes is not None
            return classes
        with torch.enable_grad():
            leaf = logits.detach().float().requires_grad_(True)
            (slope,) = torch.autograd.grad(self.scores(leaf).sum(), leaf)
        return slope.argmax(1, keepdim=True)

    def scores(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """(n,K): what to explain, of logits (n,C).

        Args:
            rows: (n,) which picture each row of ``logits`` belongs to; None where there is one row a picture.
        """
        if self.score is not None:
            values = self.score(logits)
            if values.shape != logits.shape[:1]:
                raise InputError(f"a score function must give ({len(logits)},) values, not {tuple(values.shape)}")
            return values[:, None]
        if self.classes is None:
            return logits.amax(1, keepdim=True)
        return logits.gather(1, self.classes if rows is None else self.classes[rows])

    def probabilities(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """(n,K): softmax probability of each target; a score of the caller's own is taken as it is."""
        return self.scores(logits if self.score is not None else logits.float().softmax(1), rows)


def parse_targets(targets: TargetsLike, count: int, labels: Labels, device: torch.device) -> Targets:
    """Targets of ``count`` pictures.

    Args:
        targets: None; a class for all; one a picture; several a picture, as (N,K) tensor or nested list; or a
            function from logits (n,C) to scores (n,).

    Raises:
        InputError: unknown class, or not as many targets as pictures.
    """
    if targets is None:
        return Targets()
    if callable(targets):
        return Targets(score=targets)
    rows: list[list[int | str]]
    if isinstance(targets, (int, str)):
        rows = [[targets]] * count
    elif isinstance(targets, Tensor):
        rows = targets.reshape(len(targets), -1).tolist() if targets.ndim else [[int(targets)]] * count
    else:
        rows = [[t] if isinstance(t, (int, str)) else _listed(t) for t in targets]
    if len(rows) != count:
        raise InputError(f"{len(rows)} targets for {count} images")
    if not rows[0] or len({len(row) for row in rows}) > 1:
        raise InputError("every picture needs the same number of targets, at least one")
    return Targets(torch.tensor([[labels.resolve(t) for t in row] for row in rows], device=device))


def _listed(targets: Sequence[int | str] | Tensor) -> list[int | str]:
    return targets.reshape(-1).tolist() if isinstance(targets, Tensor) else list(targets)


def many(targets: TargetsLike) -> bool:
    """Are several targets a picture asked for, so that maps are (N,K,H,W)?"""
    if isinstance(targets, Tensor):
        return targets.ndim == 2
    return (
        isinstance(targets, Sequence)
        and not isinstance(targets, str)
        and any(isinstance(t, (list, tuple)) for t in targets)
    )
