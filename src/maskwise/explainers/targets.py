"""What a map explains: the top class, one or several named classes of each picture, or a score of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import Activation, probabilities_of
from maskwise.core.errors import InputError

Score = Callable[[Tensor], Tensor]
TargetLike = int | str | Sequence[int | str]
TargetsLike = TargetLike | Sequence[TargetLike] | Tensor | np.ndarray | Score | Sequence[Score] | None


@dataclass(frozen=True)
class Targets:
    """K targets of each of N pictures.

    Attributes:
        classes: (N,K) int64, or None for the top class of each picture (K = 1).
        score: the caller's own ``logits (n,C) -> (n,)``, instead of classes (K = 1); or one such function a picture.
        activation: of the classifier, which makes probabilities of its logits.
    """

    classes: Tensor | None = None
    score: Score | tuple[Score, ...] | None = None
    activation: Activation = "softmax"

    @property
    def count(self) -> int:
        return 1 if self.classes is None else self.classes.shape[1]

    def one(self, k: int) -> Targets:
        """The k-th target alone."""
        return self if self.classes is None else replace(self, classes=self.classes[:, k : k + 1])

    def of(self, rows: Tensor) -> Targets:
        """The targets of pictures ``rows`` (n,), in that order; a picture may come several times."""
        if isinstance(self.score, tuple):
            return replace(self, score=tuple(self.score[int(row)] for row in rows))
        return self if self.classes is None else replace(self, classes=self.classes[rows])

    def resolved(self, logits: Tensor) -> Targets:
        """The top class made definite by the clean pictures' logits (N,C), before anything is perturbed."""
        if self.classes is None and self.score is None:
            return replace(self, classes=logits.argmax(1, keepdim=True))
        return self

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
        if isinstance(self.score, tuple):
            pictures = range(len(logits)) if rows is None else rows.tolist()
            found = [_checked(self.score[n](logits[i : i + 1]), 1) for i, n in enumerate(pictures)]
            return torch.cat(found)[:, None]
        if self.score is not None:
            return _checked(self.score(logits), len(logits))[:, None]
        if self.classes is None:
            return logits.amax(1, keepdim=True)
        return logits.gather(1, self.classes if rows is None else self.classes[rows])

    def probabilities(self, logits: Tensor, rows: Tensor | None = None) -> Tensor:
        """(n,K): probability of each target; a score of the caller's own is taken as it is."""
        if self.score is not None:
            return self.scores(logits, rows)
        return self.scores(probabilities_of(logits.float(), self.activation), rows)


def _checked(values: Tensor, count: int) -> Tensor:
    if not isinstance(values, Tensor) or values.shape != (count,):
        shape = tuple(values.shape) if isinstance(values, Tensor) else type(values).__name__
        raise InputError(f"a score function must give ({count},) values, not {shape}")
    return values


def parse_targets(targets: TargetsLike, count: int, classifier: Classifier) -> Targets:
    """Targets of ``count`` pictures.

    Args:
        targets: None; a class for all; one a picture; several a picture, as (N,K) tensor, array or nested list; a
            function from logits (n,C) to scores (n,), or one such function a picture. A class is an index, a name or a
            WordNet id.
        classifier: whose classes and activation they are.

    Raises:
        InputError: unknown class, or not as many targets as pictures.
    """
    own = Targets(activation=classifier.activation)
    if targets is None:
        return own
    if callable(targets):
        return replace(own, score=targets)
    rows = _rows(targets, count)
    if len(rows) != count:
        raise InputError(f"{len(rows)} targets for {count} images")
    if all(callable(row) for row in rows):
        return replace(own, score=tuple(rows))
    listed = [list(row) if _is_list(row) else [row] for row in rows]
    if not listed[0] or len({len(row) for row in listed}) > 1:
        raise InputError("every picture needs the same number of targets, at least one")
    resolved = [[classifier.labels.resolve(_plain(target)) for target in row] for row in listed]
    return replace(own, classes=torch.tensor(resolved, device=classifier.device))


def _rows(targets: Any, count: int) -> list[Any]:
    """What is asked of each picture."""
    if isinstance(targets, (Tensor, np.ndarray)):
        if targets.ndim > 2:
            raise InputError(f"targets are (N,) or (N,K), not {tuple(targets.shape)}")
        return list(targets) if targets.ndim else [targets] * count
    if isinstance(targets, (str, Integral)) or not isinstance(targets, Sequence):
        return [targets] * count
    return list(targets)


def _is_list(row: Any) -> bool:
    return isinstance(row, (list, tuple)) or (isinstance(row, (Tensor, np.ndarray)) and row.ndim > 0)


def _plain(target: Any) -> int | str:
    """A class as an index or a name, of what libraries have for numbers and texts."""
    if isinstance(target, (Tensor, np.ndarray, np.generic)):
        target = target.item()
    if isinstance(target, (bool, np.bool_)) or not isinstance(target, (str, Integral)):
        raise InputError(f"a target is a class's index or name, not {type(target).__name__} {target!r}")
    return target if isinstance(target, str) else int(target)


def many(targets: TargetsLike) -> bool:
    """Are several targets a picture asked for, so that maps are (N,K,H,W)?"""
    if isinstance(targets, (Tensor, np.ndarray)):
        return targets.ndim == 2
    return isinstance(targets, Sequence) and not isinstance(targets, str) and any(_is_list(t) for t in targets)
