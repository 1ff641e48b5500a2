"""How often is it right, does its confidence say so, and what does it take for what?"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from maskwise.audit.figures import confusion_figure, reliability_figure
from maskwise.audit.finding import Criterion, Figure, Interval, Listing, Section
from maskwise.audit.subject import Audited
from maskwise.audit.wilson import wilson

BINS = 15
PAIRS = 8


class CalibrationError:
    """Expected calibration error (Naeini et al. 2015; Guo et al. 2017, Eq. 3): sum_b n_b/N |accuracy_b - confidence_b|.

    Of rows (N,45): for each of 15 bins of equal width whether the picture is in it, its confidence there, and whether
    it is right there.
    """

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        _, confidence, right = total.unflatten(-1, (3, BINS)).unbind(-2)
        error: Tensor = (right - confidence).abs().sum(-1) / count
        return error


def calibration_rows(confidence: Tensor, right: Tensor) -> Tensor:
    """Rows (N,45) of confidences (N,) in [0,1] and right (N,) bool."""
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    inside = torch.nn.functional.one_hot(place, BINS).double()
    return torch.cat([inside, inside * confidence.double()[:, None], inside * right.double()[:, None]], 1)


def accuracy_section(audited: Audited) -> Section:
    """Accuracy, calibration and confusions; nothing where no label is known."""
    section = Section("accuracy", "Is it right, and does it know?")
    known = audited.labelled
    if not known.any():
        section.not_done = "no picture has a label"
        section.criteria.append(Criterion("calibration", _QUESTION, None, section.not_done))
        return section
    right, confidence = audited.right[known], audited.rows("answers")[known, 1]
    accuracy = wilson(int(right.sum()), len(right))
    rows = calibration_rows(confidence, right)
    error = audited.estimate(rows, CalibrationError())
    mean = audited.estimate(confidence)
    bound = audited.plan.limits.calibration
    section.says = [
        f"It is right on {accuracy.times(100).text(1, '%')} of {len(right)} labelled pictures (Wilson's interval).",
        f"Its mean confidence is {mean.times(100).text(1, '%')}: it is {_trust(accuracy, mean)}. The expected "
        f"calibration error is {error.text(3)}; with few pictures it comes out too large.",
    ]
    holds = None if error.low <= bound < error.high else error.high <= bound
    section.criteria.append(Criterion("calibration", _QUESTION, holds, f"{error.text(3)}, bound {bound:g}"))
    path = audited.out / "pictures" / "reliability.png"
    inside, _, hits = rows.unflatten(-1, (3, BINS)).sum(0)
    reliability_figure(inside, hits, path)
    section.figures.append(
        Figure(path, "Reliability: how often it is right (bars) at each confidence; dashed: what it should be")
    )
    pairs = confusions(audited)
    if pairs:
        section.tables.append(
            Listing(
                ["true class", "taken for", "pictures", "of its pictures"],
                [[audited.name(t), audited.name(p), n, f"{100 * n / of:.0f}%"] for t, p, n, of in pairs[:PAIRS]],
                "What is most often taken for what.",
            )
        )
        path = audited.out / "pictures" / "confusions.png"
        confusion_figure(_mean_maps(audited, pairs[:PAIRS]), path)
        section.figures.append(Figure(path, "Mean map of each pair above, of the class that was said"))
    section.numbers = {"accuracy": accuracy.plain(), "calibration_error": error.plain(), "confidence": mean.plain(),
                       "confusions": [{"true": t, "predicted": p, "pictures": n} for t, p, n, _ in pairs]}  # fmt: skip
    return section


_QUESTION = "Does its confidence say how often it is right?"


def _trust(accuracy: Interval, confidence: Interval) -> str:
    if confidence.low > accuracy.high:
        return "surer than it should be"
    return "less sure than it could be" if confidence.high < accuracy.low else "about as sure as it should be"


def confusions(audited: Audited) -> list[tuple[int, int, int, int]]:
    """(true, predicted, pictures, pictures of the true class), the most frequent first."""
    wrong = audited.labelled & ~audited.right
    counted = Counter(zip(audited.labels[wrong].tolist(), audited.top[wrong].tolist(), strict=True))
    of = Counter(audited.labels[audited.labelled].tolist())
    return [(t, p, n, of[t]) for (t, p), n in sorted(counted.items(), key=lambda item: (-item[1], item[0]))]


def _mean_maps(audited: Audited, pairs: list[tuple[int, int, int, int]]) -> list[tuple[str, Tensor]]:
    """A title and the mean small map (14,14) of each pair."""
    maps = audited.rows("maps")
    side = int(maps.shape[1] ** 0.5)
    found = []
    for true, said, count, _ in pairs:
        those = (audited.labels == true) & (audited.top == said)
        title = f"{audited.name(true)}\nas {audited.name(said)} ({count})"
        found.append((title, maps[those].mean(0).reshape(side, side)))
    return found
