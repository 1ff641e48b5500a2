"""Does a network say a finding by what is around it? With the finding hidden, and with it in pictures that lack it."""

from __future__ import annotations

import zlib
from dataclasses import replace

import torch
from torch import Tensor

from maskwise.audit.conflict import conflict
from maskwise.audit.finding import Criterion, Interval, Section, stays_below, too_few
from maskwise.audit.parts import kept
from maskwise.audit.reliance import reliance_section
from maskwise.audit.subject import Audited, plain_identity
from maskwise.audit.wilson import difference, independent, share_of
from maskwise.blending import masked_out
from maskwise.classifiers.one_finding import THERE
from maskwise.core.modes import eval_mode
from maskwise.core.spread import evenly_spread
from maskwise.infill import infiller
from maskwise.measures.filling import filed_fill

MOST = 300  # pictures without the finding that get a hole
_OBJECT = "Does it go by the finding rather than by what is around it?"
_NEEDS = "Does it need to see the finding?"


def background_section(audited: Audited) -> Section:
    """Object against background; of a finding, the place of it against all around it."""
    return reliance_section(audited) if audited.finding is None else finding_reliance(audited)


def finding_reliance(audited: Audited) -> Section:
    """How often the finding is said with its place hidden, and how much oftener than of pictures without it that have
    such holes; how often it is said where its place is put into pictures without it."""
    section = Section("background", "Does it answer by what is around the finding?")
    rows = audited.rows("objects")
    known = ~rows.isnan().any(1) & audited.shown
    if not known.any():
        return _unknown(section, "no picture that shows it has a box or a mask that leaves a background")
    if not audited.absent.any():
        return _unknown(section, "no picture is known that doesn't show it")
    count = int(known.sum())
    said = [one == THERE for one in (audited.top[known], rows[known, 2].long(), rows[known, 4].long())]
    whole, alone, hidden = (audited.share(one, known) for one in said)
    found = with_holes(audited, known)
    places, _, said_then = torch.tensor(found).unbind(1)
    holes = audited.share(said_then == THERE, places)
    section.says = [
        f"What is missing is refilled ({audited.plan.fill}). Of {count} pictures that show {audited.finding} and where "
        f"it is, it is said of {whole.times(100).text(0, '%')} of the whole ones, of {alone.times(100).text(0, '%')} "
        f"with its place alone, and of {hidden.times(100).text(0, '%')} with its place hidden. Of {holes.count} "
        f"pictures that don't show it, with holes at the same places, it is said of {holes.times(100).text(0, '%')}."
    ]
    section.numbers = {
        "pictures": count, "against": "labels" if audited.labelled.any() else "what is said of the whole picture",
        "whole": whole.plain(), "object": alone.plain(), "background": hidden.plain(), "others": holes.plain(),
    }  # fmt: skip
    _exchanged(audited, section, known)
    gain = difference(
        independent(said[2], audited.groups_of(known)), independent(said_then == THERE, audited.groups_of(places))
    )
    least = None if hidden.subjects is None or holes.subjects is None else min(hidden.subjects, holes.subjects)
    _hidden(audited, section, replace(gain, count=count + len(found), subjects=least))
    return section


def with_holes(audited: Audited, known: Tensor) -> list[tuple[int, int, int]]:
    """Of pictures without the finding, each with a refilled hole where another picture ``known`` (N,) bool has it:
    their places, the other's, and what is said."""

    def made() -> dict[str, list[tuple[int, int, int]]]:
        classifier, paint = audited.classifier, infiller(audited.plan.fill)
        places = audited.absent.nonzero()[:, 0]
        places = places[torch.tensor(evenly_spread(len(places), audited.at_most(MOST)), dtype=torch.int64)]
        draws = torch.Generator().manual_seed(audited.plan.seed)
        order = known.nonzero()[:, 0]
        givers: list[int] = order[torch.randperm(len(order), generator=draws)].tolist()
        found = []
        for turn, place in enumerate(places.tolist()):
            giver = givers[turn % len(givers)]
            hole = audited.object_of(giver)[1][None].float().to(classifier.device)
            image = audited.picture(place)[1].image[None].to(classifier.device)
            changed = masked_out(image, hole, paint(image, hole, classifier.mean))
            with eval_mode(classifier), torch.no_grad():
                found.append((place, giver, int(classifier.logits(classifier.prepare(changed)).argmax(1))))
        return {"rows": found}

    who = zlib.crc32((known.int() + 2 * audited.absent.int()).numpy().tobytes())
    identity = plain_identity(audited) | {"fill": filed_fill(audited.plan.fill), "known": who}
    return [tuple(row) for row in kept(audited.out, "holes", identity, made)["rows"]]


def _exchanged(audited: Audited, section: Section, known: Tensor) -> None:
    """The place of the finding in other pictures, with it and without it."""
    bound = audited.plan.limits.background
    found = conflict(audited, audited.shown.long(), known)
    if found is None:
        section.criteria.append(Criterion("background", _OBJECT, None, "only one picture shows it and where it is"))
        return
    lost, count = found.lost(audited.plan.seed), len(found.truth)
    own, other = (share_of(one, found.groups) for one in (found.own_right, found.other_right))
    section.says.append(
        f"Does it need the rest of the picture? The place of the finding was put into {count} other pictures that show "
        f"it, their own refilled, and into {count} that don't. It is said of {own.times(100).text(0, '%')} of the "
        f"first and {other.times(100).text(0, '%')} of the second: the difference is what the rest of the picture does."
    )
    section.numbers |= {"own_background": own.plain(), "other_background": other.plain(), "lost": lost.plain()}
    figure = f"{lost.text()} of its hits is lost in pictures without the finding around it, at most {bound:g}"
    section.criteria.append(Criterion("background", _OBJECT, stays_below(lost, bound), figure + too_few(lost)))


def _hidden(audited: Audited, section: Section, gain: Interval) -> None:
    """How much oftener it is said of what is around it than of pictures without it: that must not be much."""
    bound = audited.plan.limits.classes
    section.numbers["hidden"] = gain.plain()
    holds = stays_below(gain, bound)
    figure = (
        f"said {gain.times(100).text(0)} points more often of pictures with it hidden than of those without it, at "
        f"most {100 * bound:g}" + too_few(gain)
    )
    if holds is False:
        section.says.append(
            f"{audited.finding} is said without being seen: look at its pictures for what they share beside it. It may "
            "be a shortcut, such as a mark, a device or a ward's camera, or a sign that goes with the finding."
        )
    section.criteria.append(Criterion("classes", _NEEDS, holds, figure))


def _unknown(section: Section, why: str) -> Section:
    section.not_done = why
    section.criteria += [
        Criterion(name, asks, None, why) for name, asks in (("background", _OBJECT), ("classes", _NEEDS))
    ]
    return section
