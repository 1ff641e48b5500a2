"""What checks share that explain pictures again after a change: a score a picture and method, with intervals."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from maskwise.checks.intervals import MeanInterval, interval_said, mean_of
from maskwise.checks.protocol import check_seed, versions
from maskwise.checks.rows import Values, as_float
from maskwise.checks.subject import ProgressCallback, Subject, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.sess.sweep import AnyExplainer

Scores = Callable[[Subject, Tensor, Tensor], dict[str, Tensor]]


@dataclass(frozen=True)
class AgainRow:
    """A method's mean of one score.

    Attributes:
        method: its name.
        score: which.
        value: mean over pictures; those where the score is undefined are left out and counted.
    """

    method: str
    score: str
    value: MeanInterval

    def plain(self) -> dict[str, Any]:
        return {"method": self.method, "score": self.score, **self.value.plain()}


@dataclass(frozen=True, eq=False)
class AgainResult:
    """Everything such a check found.

    Attributes:
        rows: one a method and score.
        values: (N,), float64, by method and score; NaN where undefined.
        protocol: how the numbers came about.
    """

    rows: list[AgainRow]
    values: dict[tuple[str, str], Tensor]
    protocol: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Rows and protocol as plain data."""
        return {"rows": [row.plain() for row in self.rows], "protocol": self.protocol}


def explained_again(
    check: str,
    methods: Mapping[str, AnyExplainer],
    classifier: Classifier,
    images: Values,
    scores: Scores,
    settings: Mapping[str, Any],
    groups: Tensor | None,
    seed: int,
    batch: int,
    progress: ProgressCallback | None,
) -> AgainResult:
    """Scores every method on every picture, for the classifier's top class of the whole picture.

    Args:
        check: its name.
        methods: explainers by name.
        classifier: what they explain.
        images: (N,3,H,W), float in [0,1] or uint8.
        scores: of a method, pictures (B,3,H,W) float and their classes (B,), by name (B,).
        settings: what the protocol says beside what is common.
        groups: (N,) int64, pictures that are drawn together for intervals; None is each by itself.
        seed: of the intervals.
        batch: pictures at once.
        progress: called with (done, total), in pictures times methods.

    Raises:
        InputError: no method, or no picture.
    """
    subjects = subjects_of(check, methods, classifier, images, seed)
    found: dict[tuple[str, str], list[Tensor]] = {}
    done, total = 0, len(images) * len(subjects)
    for part in images.split(batch):
        pictures = as_float(part)
        classes = top_classes(classifier, pictures, batch)
        for name, subject in subjects.items():
            for score, part_of in scores(subject, pictures, classes).items():
                found.setdefault((name, score), []).append(part_of.double().cpu())
            done += len(pictures)
            if progress is not None:
                progress(done, total)
    values = {(name, score): torch.cat(found[name, score]) for name in subjects for of, score in found if of == name}
    return result_of(check, subjects, classifier, images, values, settings, seed, groups)


def subjects_of(
    check: str, methods: Mapping[str, AnyExplainer], classifier: Classifier, images: Values, seed: int
) -> dict[str, Subject]:
    """The methods as subjects, whose maps are in [0,1]; arguments, and what is refused, as ``explained_again``."""
    check_seed(seed)
    if not methods or not len(images):
        raise InputError(f"{check} needs a method and a picture")
    return {name: Subject.of(explainer, classifier, before_sigmoid=False) for name, explainer in methods.items()}


def result_of(
    check: str,
    subjects: Mapping[str, Subject],
    classifier: Classifier,
    images: Values,
    values: dict[tuple[str, str], Tensor],
    settings: Mapping[str, Any],
    seed: int,
    groups: Tensor | None = None,
) -> AgainResult:
    """Means with intervals of values (N,) by method and score, and what they came of."""
    rows = [AgainRow(name, score, mean_of(of, "left_out", seed, groups)) for (name, score), of in values.items()]
    protocol = {
        "check": check,
        "explainers": {name: subject.identity for name, subject in subjects.items()},
        "classifier": classifier.name,
        "fingerprint": classifier.fingerprint(),
        "pictures": len(images),
        "size": list(images.shape[-2:]),
        "target": "the classifier's top class of the whole picture",
        **settings,
        "undefined": "left out and counted",
        "interval": interval_said(groups),
        "seed": seed,
        "versions": versions(),
    }
    return AgainResult(rows, values, protocol)
