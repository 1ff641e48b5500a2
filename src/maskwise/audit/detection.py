"""How well is a finding told: sensitivity, specificity, and the area under the receiver operating characteristic."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import NormalDist

import torch
from torch import Tensor

from maskwise.audit.finding import Criterion, Interval, Section, stays_above, too_few
from maskwise.audit.subject import Audited
from maskwise.audit.wilson import difference, independent, share_of
from maskwise.classifiers.one_finding import THERE
from maskwise.core.connected import of_rows
from maskwise.core.correlation import ranks

STEPS = 60  # of halving, which is more than float64 has digits
BETTER = "Is it better than one and the same answer?"


def detection(audited: Audited, section: Section) -> None:
    """Adds to a section what is asked of a finding, with the criterion ``accuracy``.

    One and the same answer has a sensitivity and specificity of 1 in sum; what they have more is Youden's J (1950).
    """
    known = audited.labelled
    there, said = audited.labels[known] == THERE, audited.top[known] == THERE
    count, others = int(there.sum()), int((~there).sum())
    if not count or not others:
        which = "shows it" if not count else "is without it"
        why = f"no labelled picture {which}, so one and the same answer may be right on all of them"
        section.criteria.append(Criterion("accuracy", BETTER, None, why))
        return
    groups, score = audited.groups_of(known), audited.rows("log_odds")[known, 0]
    shown, absent = (of_rows(groups, part) for part in (there, ~there))
    sensitivity, specificity = share_of(said[there], shown), share_of(~said[~there], absent)
    alike = likeness(score, there, groups)
    area = replace(auroc_interval(auroc(score, there), count / alike, others / alike), count=len(score))
    gain = difference(independent(said[there], shown), independent(said[~there], absent))
    gain = replace(gain, count=len(score), subjects=None if groups is None else len(groups.unique()))
    section.says.append(
        f"At a probability of 1/2 it finds {sensitivity.times(100).text(1, '%')} of {count} pictures that show "
        f"{audited.finding} (sensitivity), and leaves {specificity.times(100).text(1, '%')} of {others} others alone "
        f"(specificity). Of a picture with it and one without, the first has the higher probability in "
        f"{area.times(100).text(1, '%')} of all pairs (AUROC, Newcombe's interval)."
    )
    if gain.low <= 0 < area.low - 0.5:
        section.says.append(
            "So its probabilities tell such pictures, though 1/2 is not the place to part them. What follows calls it "
            "said where it has more than 1/2."
        )
    holds = stays_above(gain, 0)
    figure = f"sensitivity + specificity - 1 is {gain.text()}, above 0, which one and the same answer has"
    section.criteria.append(Criterion("accuracy", BETTER, holds, figure + too_few(gain)))
    section.numbers |= {"sensitivity": sensitivity.plain(), "specificity": specificity.plain(), "auroc": area.plain(),
                        "youden": gain.plain()}  # fmt: skip


def auroc(score: Tensor, there: Tensor) -> float:
    """The share of pairs, one that shows it and one that doesn't, whose first has the higher score; half of ties.

    The Mann-Whitney statistic over all pairs (Hanley and McNeil 1982).

    Args:
        score: (N,), higher where it is likelier.
        there: (N,) bool, with both kinds.

    Example:
        >>> import torch
        >>> auroc(torch.tensor([0.9, 0.4, 0.4, 0.1]), torch.tensor([True, True, False, False]))
        0.875
    """
    count = int(there.sum())
    above = float(ranks(score[None])[0, there].sum()) - count * (count + 1) / 2
    return above / (count * (len(score) - count))


def likeness(score: Tensor, there: Tensor, groups: Tensor | None) -> float:
    """By how much pictures of one group, such as a patient, being alike makes the area's variance larger: 1 or more.

    The variance with groups over that without (Obuchowski 1997), of the share of the other kind that each picture's
    score is on the right side of (DeLong et al. 1988). Where all pairs are right or all wrong that tells nothing, and
    pictures of one group are taken as the same.

    Args:
        score: (N,), higher where it is likelier.
        there: (N,) bool, with both kinds.
        groups: (N,) int64; None is each by itself.
    """
    if groups is None:
        return 1.0
    _, group, size = groups.unique(return_inverse=True, return_counts=True)
    most = float(size.double().square().sum()) / len(score)
    area, count = auroc(score, there), int(there.sum())
    off = torch.zeros(len(score), dtype=torch.float64)
    off[there] = (_below(score, there) - area) / count
    off[~there] = (1 - _below(score, ~there) - area) / (len(score) - count)
    if not off.any() or len(size) < 2:
        return most
    together = torch.zeros(len(size), dtype=torch.float64).index_add(0, group, off)
    return min(max(float(_variance(together) / _variance(off)), 1.0), most)


def _below(score: Tensor, kind: Tensor) -> Tensor:
    """(n,) float64: of each picture of a kind (N,) bool, the share of the others that are below it; half of ties."""
    of_all, among = (ranks(one[None])[0] for one in (score, score[kind]))
    return (of_all[kind] - among) / int((~kind).sum())


def _variance(off: Tensor) -> Tensor:
    """Of the sum of independent parts (n,) of mean 0."""
    return off.square().sum() * len(off) / (len(off) - 1)


def auroc_interval(area: float, count: float, others: float, level: float = 0.95) -> Interval:
    """With its score interval, which has a width at 0 and 1, too (Newcombe 2006, part 2, method 5).

    The ends are the areas a with (area - a)^2 = z^2 V(a), where of m and n pictures
    V(a) = a (1 - a) (1 + ((m + n)/2 - 1) ((1 - a)/(2 - a) + a/(1 + a))) / (m n).
    """
    z = NormalDist().inv_cdf((1 + level) / 2)

    def beyond(a: float) -> bool:
        pairs = (count + others) / 2 - 1
        variance = a * (1 - a) * (1 + pairs * ((1 - a) / (2 - a) + a / (1 + a))) / (count * others)
        return abs(area - a) > z * math.sqrt(variance)

    def end(inside: float, outside: float) -> float:
        for _ in range(STEPS):
            middle = (inside + outside) / 2
            inside, outside = (inside, middle) if beyond(middle) else (middle, outside)
        return inside

    low, high = (0.0 if area <= 0 else end(area, 0.0)), (1.0 if area >= 1 else end(area, 1.0))
    return Interval(area, low, high, round(count + others))
