"""What a map explains: the top class, one or several named classes of each picture, or a score of the caller's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from numbers import Integral
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.classifiers.link import Activation, probabilities_of
from maskwise.core.errors import InputError
from maskwise.explainers.contrasts import MINUS, Contrast
from maskwise.labels import Labels

Score = Callable[[Tensor], Tensor]
Scoring = Literal["probability", "logit"]
TargetLike = int | str | Contrast | Sequence[int | str | Contrast]
TargetsLike = TargetLike | Sequence[TargetLike] | Tensor | np.ndarray | Score | Sequence[Score] | None


@dataclass(frozen=True)
class Targets:
    """K targets of each of N pictures.

    Attributes:
        classes: (N,K) int64, or None for the top class of each picture (K = 1).
        score: the caller's own ``logits (n,C) -> (n,)``, instead of classes (K = 1); or one such function a picture.
        activation: of the classifier, which makes probabilities of its logits.
        contrasts: K of each of N pictures, not yet settled, by the names in ``labels``; instead of classes.
        goals: (N,K,C) coefficients of the scores of C classes, which settled contrasts are.
    """

    classes: Tensor | None = None
    score: Score | tuple[Score, ...] | None = None
    activation: Activation = "softmax"
    contrasts: tuple[tuple[Contrast, ...], ...] | None = None
    labels: Labels | None = None
    goals: Tensor | None = None

    @property
    def count(self) -> int:
        if self.contrasts is not None:
            return len(self.contrasts[0])
        several = self.classes if self.goals is None else self.goals
        return 1 if several is None else several.shape[1]

    @property
    def settled(self) -> bool:
        """Is it known what is explained, whatever the pictures' logits are?"""
        return not (self.classes is None and self.score is None and self.goals is None)

    def one(self, k: int) -> Targets:
        """The k-th target alone."""
        if self.contrasts is not None:
            return replace(self, contrasts=tuple(row[k : k + 1] for row in self.contrasts))
        if self.goals is not None:
            return replace(self, goals=self.goals[:, k : k + 1])
        return self if self.classes is None else replace(self, classes=self.classes[:, k : k + 1])

    def of(self, rows: Tensor) -> Targets:
        """The targets of pictures ``rows`` (n,), in that order; a picture may come several times."""
        if isinstance(self.score, tuple):
            return replace(self, score=tuple(self.score[int(row)] for row in rows))
        if self.contrasts is not None:
            return replace(self, contrasts=tuple(self.contrasts[int(row)] for row in rows))
        if self.goals is not None:
            return replace(self, goals=self.goals[rows])
        return self if self.classes is None else replace(self, classes=self.classes[rows])

    def resolved(self, logits: Tensor) -> Targets:
        """Top class and contrasts made definite by the clean pictures' logits (N,C), before anything is perturbed."""
        if self.contrasts is not None:
            assert self.labels is not None
            clean, labels = logits.detach().float(), self.labels
            made = [[one.goal(own, labels) for one in row] for own, row in zip(clean, self.contrasts, strict=True)]
            return replace(self, contrasts=None, goals=torch.stack([torch.stack(row) for row in made]))
        if not self.settled:
            return replace(self, classes=logits.argmax(1, keepdim=True))
        return self

    def classes_of(self, logits: Tensor) -> Tensor:
        """Classes (N,K) that a method can name, of pictures with logits (N,C).

        For a score function it is the class by whose logit the score rises fastest: c for both its logit and its
        probability, a for the difference of the logits of a and b. So it is for contrasts.
        """
        if self.goals is not None or self.contrasts is not None:
            goals = self.resolved(logits).goals
            assert goals is not None
            return goals.argmax(2)
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
        if self.contrasts is not None:
            assert rows is None, "whoever changes the pictures asks for `resolved` before"
            return self.resolved(logits).scores(logits)
        if self.goals is not None:
            goals = self.goals if rows is None else self.goals[rows]
            return (logits[:, None] * goals.to(logits.dtype)).sum(2)
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

    def by(self, scoring: Scoring) -> Callable[[Tensor, Tensor | None], Tensor]:
        """``probabilities`` or ``scores``, as a method's ``scoring`` says."""
        return self.probabilities if scoring == "probability" else self.scores

    def for_others(self, k: int) -> Tensor | Score | tuple[Score, ...] | None:
        """The k-th target for an explainer from elsewhere: classes (N,), functions, or None for the top class."""
        if self.goals is not None:
            return tuple(partial(_linear, goal=row[k]) for row in self.goals)
        return self.score if self.classes is None else self.classes[:, k]


def _linear(logits: Tensor, goal: Tensor) -> Tensor:
    return logits @ goal.to(logits.dtype)


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
            WordNet id; in its place a ``Contrast`` or its text, ``A - B`` or ``finer``, may stand.
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
    wanted = [[_wanted(target, classifier.labels) for target in row] for row in listed]
    if any(isinstance(target, Contrast) for row in wanted for target in row):
        return replace(own, labels=classifier.labels, contrasts=tuple(tuple(map(_as_contrast, row)) for row in wanted))
    resolved = [[classifier.labels.resolve(cast("int | str", target)) for target in row] for row in wanted]
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


def _wanted(target: Any, labels: Labels) -> int | str | Contrast:
    """A class, or a contrast of classes that exist."""
    if isinstance(target, Contrast):
        if target.target is not None:
            labels.resolve(target.target)
        target.others(labels)
        return target
    plain = _plain(target)
    return (Contrast.parsed(plain, labels) if isinstance(plain, str) else None) or plain


def _as_contrast(target: int | str | Contrast) -> Contrast:
    return target if isinstance(target, Contrast) else Contrast(target, (), weight=0.0)


def described(target: int | str | Contrast, labels: Labels, top: str) -> str:
    """What a target is called; ``top`` is the name of the top class.

    Raises:
        InputError: unknown class.
    """
    wanted = _wanted(target, labels)
    return wanted.described(labels, top) if isinstance(wanted, Contrast) else labels.name(labels.resolve(wanted))


def class_alone(target: int | str, labels: Labels) -> int | None:
    """The index of a class; None of a contrast.

    Raises:
        InputError: unknown class.
    """
    wanted = _wanted(target, labels)
    return None if isinstance(wanted, Contrast) else labels.resolve(wanted)


def class_of_description(text: str, labels: Labels) -> int:
    """The class that ``described`` puts first.

    Raises:
        InputError: as ``Labels.resolve``.
    """
    try:
        return labels.resolve(text)
    except InputError:
        if MINUS not in text:
            raise
        return labels.resolve(text.partition(MINUS)[0])


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
