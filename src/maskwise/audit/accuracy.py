"""How often is it right, does its confidence say so, and what does it take for what?"""

from __future__ import annotations

from collections import Counter

import torch
from torch import Tensor

from maskwise.audit.detection import BETTER, detection
from maskwise.audit.figures import confusion_figure, reliability_figure
from maskwise.audit.finding import (
    Criterion,
    Figure,
    Interval,
    Listing,
    Section,
    stays_above,
    stays_below,
    too_few,
)
from maskwise.audit.subject import Audited
from maskwise.audit.wilson import share_of
from maskwise.core.connected import of_rows, or_alone

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
        section.criteria += [
            Criterion(name, question, None, section.not_done)
            for name, question in (("accuracy", BETTER), ("calibration", _QUESTION))
        ]
        return section
    right, confidence = audited.right[known], audited.rows("answers")[known, 1]
    accuracy = audited.share(right, known)
    rows = calibration_rows(confidence, right)
    error = audited.estimate(rows, CalibrationError(), known)
    mean = audited.estimate(confidence, of=known)
    usual, most = calibrated_error(confidence, seed=audited.plan.seed, groups=audited.groups_of(known))
    bound = audited.plan.limits.calibration
    section.says = [
        f"It is right on {accuracy.times(100).text(1, '%')} of {len(right)} labelled pictures (Wilson's interval).",
        f"Its mean confidence is {mean.times(100).text(1, '%')}: it is {_trust(accuracy, mean)}. The expected "
        f"calibration error is {error.text(3)}. Few pictures make it too large: a classifier whose confidence is right "
        f"would get {usual:.3f} here on average, and up to {most:.3f} in 95 of 100 such sets.",
    ]
    if audited.finding is not None:
        detection(audited, section)
    else:
        section.criteria.append(Criterion("accuracy", BETTER, *_better(accuracy, audited.labels[known])))
    if section.criteria[0].holds is not True:
        section.says.append(
            "It isn't shown to be better than one and the same answer to everything. If that surprises you, look "
            "first whether the labels count its classes in its own order, and whether mean, standard deviation and "
            "size of its pictures are right."
        )
    holds = stays_below(error, bound)
    if holds is False and error.value <= most:
        holds = None
    section.criteria.append(
        Criterion(
            "calibration", _QUESTION, holds, f"error {error.text(3)}, at most {bound:g}; up to {most:.3f} by chance"
            + too_few(error),
        )
    )  # fmt: skip
    path = audited.out / "pictures" / "reliability.png"
    inside = rows[:, :BINS].sum(0)
    reliability_figure(inside, bins_of(rows, audited.groups_of(known)), path)
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
        whose = "the class that was said" if audited.finding is None else audited.finding
        section.figures.append(Figure(path, f"Mean map of each pair above, of {whose}"))
    section.numbers |= {"accuracy": accuracy.plain(), "calibration_error": error.plain(),
                       "calibrated_by_chance": {"mean": usual, "quantile_95": most}, "confidence": mean.plain(),
                       "confusions": [{"true": audited.name(t), "true_index": t, "predicted": audited.name(p),
                                       "predicted_index": p, "pictures": n} for t, p, n, _ in pairs]}  # fmt: skip
    return section


_QUESTION = "Does its confidence say how often it is right?"


def _better(accuracy: Interval, labels: Tensor) -> tuple[bool | None, str]:
    """Is the accuracy above the share of the most frequent class, and in what words?"""
    counts = labels.bincount()
    if (counts > 0).sum() == 1:
        return None, "all pictures are of one class, so one and the same answer may be right on all of them"
    chance = float(counts.max()) / len(labels)
    figure = f"right on {accuracy.times(100).text(0, '%')}, that answer on {100 * chance:.0f}%"
    return stays_above(accuracy, chance), figure + too_few(accuracy)


def bins_of(rows: Tensor, groups: Tensor | None = None) -> list[Interval | None]:
    """The accuracy in each bin of ``calibration_rows``; None where no picture is in it."""
    inside, right = rows[:, :BINS] > 0, rows[:, 2 * BINS :].sum(1) > 0
    return [share_of(right[there], of_rows(groups, there)) if there.any() else None for there in inside.T]


def calibrated_error(
    confidence: Tensor, draws: int = 1000, seed: int = 0, groups: Tensor | None = None
) -> tuple[float, float]:
    """Mean and 95% quantile of the calibration error of a classifier of these confidences (N,) that is right just as
    often as it says: by pictures too few to show more (Bröcker and Smith 2007, consistency resampling).

    Args:
        draws: sets of answers.
        seed: of them.
        groups: (N,) int64, pictures whose answers are taken as wholly alike: right where one number is below their
            confidence. So much more can be by chance.
    """
    generator = torch.Generator().manual_seed(seed)
    kinds, of_each = or_alone(groups, len(confidence)).unique(return_inverse=True)
    found = []
    for part in torch.arange(draws).split(max(1, 1_000_000 // (45 * max(len(confidence), 1)))):
        right = torch.rand(len(part), len(kinds), generator=generator)[:, of_each] < confidence
        rows = calibration_rows(confidence.repeat(len(part)), right.flatten()).unflatten(0, right.shape)
        found.append(CalibrationError().value(rows.sum(1), torch.tensor(float(len(confidence)))))
    errors = torch.cat(found)
    return float(errors.mean()), float(errors.quantile(0.95))


def _trust(accuracy: Interval, confidence: Interval) -> str:
    if confidence.low > accuracy.high:
        return "surer than it should be"
    if confidence.high < accuracy.low:
        return "less sure than it could be"
    return "on average neither surely too sure nor too unsure"


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
