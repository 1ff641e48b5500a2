"""What is it right on with the object alone, and with the background alone?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from maskwise.audit.conflict import conflict
from maskwise.audit.evidence import FEW
from maskwise.audit.finding import Criterion, Interval, Listing, Section, stays_below, too_few
from maskwise.audit.subject import Audited, Ratio
from maskwise.audit.wilson import difference, independent, share_of
from maskwise.core.connected import of_rows
from maskwise.core.text import few

LEVEL = 0.95
_QUESTION = "Does it go by the object rather than by the background?"
_CLASSES = "Does every class need its object?"


def reliance_section(audited: Audited) -> Section:
    """Accuracy on whole pictures, on objects alone and on backgrounds alone, refilled; against the class that was said
    where no label is known."""
    section = Section("background", "Does it answer by the background?")
    rows = audited.rows("objects")
    known = ~rows.isnan().any(1)
    if not known.any():
        return _unknown(section, "no picture has a box or a mask that leaves a background")
    labelled = bool(audited.labelled[known].any())
    known &= audited.labelled if labelled else torch.ones_like(known)
    truth = (audited.labels if labelled else audited.top)[known]
    whole, alone, hidden = (
        said == truth for said in (audited.top[known], rows[known, 2].long(), rows[known, 4].long())
    )
    shares = [audited.share(right, known) for right in (whole, alone, hidden)]
    chance = float(truth.bincount().max()) / len(truth)
    word = "right" if labelled else "what it was on the whole picture (no label is known)"
    section.says = [
        f"What is missing is refilled ({audited.plan.fill}). Of {len(truth)} pictures its answer is {word} on "
        f"{shares[0].times(100).text(0, '%')} of the whole ones, {shares[1].times(100).text(0, '%')} with the object "
        f"alone, and {shares[2].times(100).text(0, '%')} with the background alone."
    ]
    section.numbers = {
        "pictures": len(truth), "against": "labels" if labelled else "the class said of the whole picture",
        "whole": shares[0].plain(), "object": shares[1].plain(), "background": shares[2].plain(),
    }  # fmt: skip
    if (truth == truth[0]).all():
        return _unknown(section, "all pictures are of one class, so an answer that never looks may be right on them")
    if shares[0].low <= chance:
        return _unknown(section, "on whole pictures it is not surely better than one and the same answer")
    part = kept_part(audited, hidden, whole, chance, known)
    section.says.append(
        f"Above the {100 * chance:.0f}% that one and the same answer would get, the background alone gives "
        f"{part.times(100).text(0, '%')} of what whole pictures give. That is how much can be told from these "
        "backgrounds, of which boxes leave parts and shadows of objects over, and no fault in itself: where there is "
        "nothing else to see, a good classifier goes by it, too."
    )
    section.numbers["part"] = part.plain()
    _conflict(audited, section, labelled, known)
    said = audited.top[known], rows[known, 2].long(), rows[known, 4].long()
    _classes(audited, section, by_class(truth, *said, audited.groups_of(known)))
    return section


def _conflict(audited: Audited, section: Section, labelled: bool, known: Tensor) -> None:
    """Which wins, object or background, where they disagree: that decides."""
    bound = audited.plan.limits.background
    found = conflict(audited, audited.labels if labelled else audited.top, known)
    if found is None:
        section.criteria.append(Criterion("background", _QUESTION, None, "no class has two pictures with an object"))
        return
    lost, count = found.lost(audited.plan.seed), len(found.truth)
    own, other, followed = (share_of(one, found.groups) for one in (found.own_right, found.other_right, found.followed))
    section.says.append(
        f"Does it go by the background where there is an object? {count} objects were put on the refilled backgrounds "
        f"of two other pictures. On one of their own class {own.times(100).text(0, '%')} get that class; on one of "
        f"another class {other.times(100).text(0, '%')} do, and {followed.times(100).text(0, '%')} get the "
        "background's."
    )
    section.numbers |= {
        "own_background": own.plain(), "other_background": other.plain(), "follows_background": followed.plain(),
        "lost": lost.plain(),
    }  # fmt: skip
    figure = f"{lost.text()} of its accuracy is lost on another class's background, at most {bound:g}"
    section.criteria.append(Criterion("background", _QUESTION, stays_below(lost, bound), figure + too_few(lost)))


def kept_part(audited: Audited, hidden: Tensor, whole: Tensor, chance: float, of: Tensor) -> Interval:
    """The accuracy with the object hidden over that on whole pictures, both less ``chance``; of the rows ``of``.

    The bootstrap interval has no width where all pictures are alike, so it is widened to what Wilson's interval of the
    first accuracy alone leaves open.
    """
    found = audited.estimate(torch.stack([hidden, whole], 1).double() - chance, Ratio(), of)
    alone, gained = audited.share(hidden, of), float(whole.double().mean()) - chance
    ends = [(end - chance) / gained for end in (alone.low, alone.high)]
    return replace(found, low=min(found.low, ends[0]), high=max(found.high, ends[1]))


@dataclass(frozen=True)
class ClassShares:
    """One class.

    Attributes:
        label: its index.
        count: pictures of it.
        whole, alone, hidden: how many of those are said to be of it: whole, as object alone, as background alone.
        others: pictures of other classes.
        false: how many of their backgrounds are said to be of it.
        own, other: said and asked, of its own backgrounds and of others', in pictures that stand for themselves (see
            ``independent``).
    """

    label: int
    count: int
    whole: int
    alone: int
    hidden: int
    others: int
    false: int
    own: tuple[float, float]
    other: tuple[float, float]

    def gain(self, level: float = LEVEL) -> Interval:
        """How much more often it is said of its own backgrounds than of others': 0 where it is what is always said."""
        found = difference(self.own, self.other, level)
        return replace(found, count=self.count + self.others)

    def could_be_found(self, bound: float, level: float) -> bool:
        """Would it be beyond the bound, were all of its own backgrounds said to be of it and none of the others?"""
        return difference((self.own[1], self.own[1]), (0, self.other[1]), level).low > bound


def by_class(
    truth: Tensor, whole: Tensor, alone: Tensor, hidden: Tensor, groups: Tensor | None = None
) -> list[ClassShares]:
    """Of pictures of known class (N,), and the classes that are said of them whole, as object alone, and as background
    alone, each (N,): classes of at least ``FEW`` pictures, those whose backgrounds tell most first. Pictures of one of
    ``groups`` (N,) are taken as alike."""
    found = []
    for c, n in zip(*(each.tolist() for each in truth.unique(return_counts=True)), strict=True):
        own = truth == c
        said = [int((one[own] == c).sum()) for one in (whole, alone, hidden)]
        if n >= FEW:
            parts = [independent(hidden[part] == c, of_rows(groups, part)) for part in (own, ~own)]
            false = int((hidden[~own] == c).sum())
            found.append(ClassShares(c, n, said[0], said[1], said[2], len(truth) - n, false, parts[0], parts[1]))
    return sorted(found, key=lambda one: (-one.gain().value, one.label))


def strict_level(found: Sequence[object]) -> float:
    """Of each class's interval, so that over all these classes together one false alarm in 20 is left (Bonferroni)."""
    return 1 - (1 - LEVEL) / max(len(found), 1)


def _classes(audited: Audited, section: Section, found: list[ClassShares]) -> None:
    bound = audited.plan.limits.classes
    if not found:
        section.says.append(f"No class has {FEW} such pictures, so nothing is said of single classes.")
        section.criteria.append(Criterion("classes", _CLASSES, None, f"no class has {FEW} pictures"))
        return
    level = strict_level(found)
    suspects = [one for one in found if one.gain(level).low > bound]
    could = [one for one in found if one.could_be_found(bound, level)]
    if suspects:
        named = "; ".join(f"{audited.name(one.label)} {one.gain(level).times(100).text(0)}" for one in suspects)
        figure = f"said more often of its own backgrounds than of others', in points, at most {100 * bound:g}: {named}"
        section.says.append(
            f"{_listed(audited, suspects)} told by the background: look at its pictures for what they share beside the "
            "object. It may be a shortcut, or a background that goes with the class in the world."
        )
    elif could:
        figure = f"of no class surely more than {100 * bound:g} points, asked of {len(could)} classes"
    else:
        figure = f"none of {len(found)} classes has pictures enough to be found out"
    section.criteria.append(Criterion("classes", _CLASSES, False if suspects else True if could else None, figure))
    section.tables.append(
        Listing(
            ["class", "pictures", "whole", "object alone", "background alone", "others' backgrounds",
             "background tells, 95% interval"],
            [[audited.name(one.label), one.count, *(f"{100 * right / one.count:.0f}%"
              for right in (one.whole, one.alone, one.hidden)), f"{100 * one.false / one.others:.0f}%",
              one.gain().times(100).text(0)] for one in found],
            f"How often a class is said, where it has {FEW} such pictures; what background tells is the share of its "
            "own backgrounds less that of others', in points, the most first.",
        )
    )  # fmt: skip
    section.numbers["classes"] = [
        {"class": audited.name(one.label), "index": one.label, "pictures": one.count, "whole": one.whole / one.count,
         "object": one.alone / one.count, "background": one.hidden / one.count, "others": one.false / one.others,
         "tells": one.gain().plain()}
        for one in found
    ]  # fmt: skip


def _listed(audited: Audited, found: list[ClassShares]) -> str:
    names = [audited.name(one.label) for one in found]
    return f"{few(names)} {'is' if len(names) == 1 else 'are'}"


def _unknown(section: Section, why: str) -> Section:
    section.not_done = why
    section.criteria += [
        Criterion(name, asks, None, why) for name, asks in (("background", _QUESTION), ("classes", _CLASSES))
    ]
    return section
