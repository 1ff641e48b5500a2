"""Where the object and the background disagree, which does the answer follow?"""

from __future__ import annotations

import zlib
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor

from maskwise.audit.finding import Interval
from maskwise.audit.parts import kept
from maskwise.audit.subject import Audited, Ratio, estimated, plain_identity
from maskwise.audit.wilson import independent, wilson
from maskwise.blending import masked_in, masked_out
from maskwise.core.connected import of_rows, or_alone
from maskwise.core.modes import eval_mode
from maskwise.core.spread import evenly_spread
from maskwise.infill import infiller
from maskwise.measures.filling import filed_fill

MOST = 300  # pictures whose object is put elsewhere


class Conflict:
    """What is said of objects on backgrounds of their own class, and of another one.

    Attributes:
        truth: (N,), the class of each object.
        other: (N,), that of the other background.
        own_said, other_said: (N,), what is said on either.
    """

    def __init__(
        self, truth: Tensor, other: Tensor, own_said: Tensor, other_said: Tensor, groups: Tensor | None = None
    ) -> None:
        self.truth, self.other = truth, other
        self.own_said, self.other_said = own_said, other_said
        self.groups = groups

    @property
    def own_right(self) -> Tensor:
        return self.own_said == self.truth

    @property
    def other_right(self) -> Tensor:
        return self.other_said == self.truth

    @property
    def followed(self) -> Tensor:
        """(N,) bool, where the other background's class is said."""
        return self.other_said == self.other

    def rows(self) -> Tensor:
        """(N,2) float64, of which the ratio of sums is what is lost: right here but not there, and right here."""
        own, other = self.own_right.double(), self.other_right.double()
        return torch.stack([own - other, own], 1)

    def lost(self, seed: int = 0) -> Interval:
        """The part of the accuracy on backgrounds of the own class that another class's background takes: 0 where the
        object alone decides, 1 where the background alone does. The gap of Xiao et al. 2021, as a part.

        Both are on the same objects, so that the picture drawn for a bootstrap resample is in both. An interval that is
        narrower than Wilson's of a share of as many pictures is widened to that.
        """
        right = self.own_right
        if not right.any():
            return Interval(torch.nan, torch.nan, torch.nan, 0)
        found = estimated(self.rows(), Ratio(), seed, self.groups)
        _, trials = independent(~self.other_right[right], of_rows(self.groups, right))
        alone = wilson(min(max(found.value, 0.0), 1.0) * trials, trials)
        return replace(found, low=min(found.low, alone.low), high=max(found.high, alone.high))


def conflict(audited: Audited, truth: Tensor, known: Tensor) -> Conflict | None:
    """Puts objects on the refilled backgrounds of other pictures, one of the same class and one of another.

    Args:
        audited: the pictures.
        truth: (N,) of all pictures: their classes.
        known: (N,) bool, where class and object are known. The picture of another class is another such one; of a
            finding one that doesn't show it, whole.

    Returns:
        None where no class has two such pictures, or there is one class alone.
    """
    # Beside another checkpoint those take part whose object both know, which may be others.
    marks = torch.where(known, truth, -1)
    if audited.finding is not None:
        marks = torch.where(audited.absent, -2, marks)
    taking_part = zlib.crc32(marks.numpy().tobytes())
    identity = plain_identity(audited) | {"fill": filed_fill(audited.plan.fill), "known": taking_part}
    rows = kept(audited.out, "conflict", identity, lambda: {"rows": exchanged(audited, truth, known)})["rows"]
    if not rows:
        return None
    places, _, others, own_said, other_said = torch.tensor(rows).unbind(1)
    return Conflict(truth[places], truth[others], own_said, other_said, audited.groups_of(places))


def triples(
    truth: Tensor,
    known: Tensor,
    most: int,
    draws: torch.Generator,
    grounds: Tensor | None = None,
    groups: Tensor | None = None,
) -> list[tuple[int, int, int]]:
    """(picture, another one of its class, one of another class), each drawn about as often as others.

    Args:
        truth: (N,), classes.
        known: (N,) bool, who takes part.
        most: so many of them, evenly spread.
        draws: shuffles.
        grounds: (N,) bool, who may be the one of another class; None is who takes part.
        groups: (N,) int64, pictures of one subject, which lend each other no background; None is each by itself.
    """
    order = known.nonzero()[:, 0]
    order = order[torch.randperm(len(order), generator=draws)]
    others, whose = None, or_alone(groups, len(truth))
    if grounds is not None:
        others = grounds.nonzero()[:, 0]
        others = others[torch.randperm(len(others), generator=draws)]
    found = []
    for turn, place in enumerate(known.nonzero()[:, 0].tolist()):
        turned = order.roll(-turn)
        turned = turned[whose[turned] != whose[place]]
        pool = turned if others is None else others.roll(-turn)
        same, other = turned[truth[turned] == truth[place]], pool[truth[pool] != truth[place]]
        if len(same) and len(other):
            found.append((place, int(same[0]), int(other[0])))
    return [found[i] for i in evenly_spread(len(found), most)]


def exchanged(audited: Audited, truth: Tensor, known: Tensor) -> list[tuple[int, int, int, int, int]]:
    """Of each triple: its places, then what is said of the object on the second's background, and on the third's."""
    classifier, paint = audited.classifier, infiller(audited.plan.fill)
    draws = torch.Generator().manual_seed(audited.plan.seed)
    device = classifier.device

    def read(place: int) -> tuple[Tensor, Tensor]:
        own, there = audited.object_of(place)
        return own.image[None].to(device), there[None].float().to(device)

    @lru_cache(maxsize=64)
    def background(place: int) -> Tensor:
        image, there = read(place)
        return masked_out(image, there, paint(image, there, classifier.mean))

    found = []
    grounds = None if audited.finding is None else audited.absent
    for place, same, other in triples(truth, known, audited.at_most(MOST), draws, grounds, audited.groups):
        image, there = read(place)
        changed = torch.cat([masked_in(image, there, background(one)) for one in (same, other)])
        with eval_mode(classifier), torch.no_grad():
            said = classifier.logits(classifier.prepare(changed)).argmax(1).tolist()
        found.append((place, same, other, said[0], said[1]))
    return found
