"""Does a thing beside the object carry a class? What the map marks there is pasted into pictures of other classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.audit.evidence import FEW
from maskwise.audit.figures import pictures_figure
from maskwise.audit.finding import Criterion, Figure, Interval, Listing, Section
from maskwise.audit.parts import kept
from maskwise.audit.reliance import LEVEL, strict_level
from maskwise.audit.rows import beside_side
from maskwise.audit.subject import Audited, plain_identity
from maskwise.audit.wilson import difference, effective, wilson
from maskwise.classifiers.one_finding import THERE
from maskwise.core.connected import or_alone
from maskwise.core.modes import eval_mode
from maskwise.core.spread import evenly_spread
from maskwise.core.text import few
from maskwise.data import Sample

MOST, EACH, SHOWN = 1000, 4, 4  # pairs in all, pictures that get one square, and drawn pairs
FRAME = (1.0, 0.0, 1.0)  # of a square that is drawn: a colour that pictures hardly have
_NONE_WITHOUT = "there is no picture that doesn't show it and of which it isn't said"


def spurious_section(audited: Audited) -> Section:
    """Each picture that is right gives the square beside its object where most of the map lies; pasted into a picture
    of another class, it must not take the class along."""
    section = Section("spurious", _words(audited).title)
    known = ~audited.rows("beside").isnan().any(1)
    if not known.any():
        return _unknown(audited, section, "no picture has a box or a mask that leaves a background with a map on it")
    found = kept(audited.out, "spurious", plain_identity(audited), lambda: {"pairs": pasted_pairs(audited)})["pairs"]
    if not found:
        which = "no picture" if audited.finding is None else "no picture that shows it and where it is"
        return _unknown(audited, section, f"it is right on {which}")
    donors, recipients, said = torch.tensor(found).unbind(1)
    elsewhere = audited.top[donors] != audited.top[recipients]
    if audited.finding is not None:
        elsewhere &= audited.top[donors] == THERE  # and not its control
    if not elsewhere.any():
        why = "it says one and the same of all pictures" if audited.finding is None else _NONE_WITHOUT
        return _unknown(audited, section, why)
    took = said == audited.top[donors]
    whose = or_alone(audited.groups, len(audited))[donors]
    carried = wilson(*effective(whose[elsewhere], took[elsewhere]))
    share = carried.times(100).text(0, "%")
    section.says = _what_was_done(audited, int(elsewhere.sum()), share)
    section.numbers = {"pairs": int(elsewhere.sum()), "carried": {**carried.plain(), "count": len(donors.unique())}}
    classes = carried_by_class(audited.top, audited.labels, donors, recipients, said, audited.groups)
    if audited.finding is not None:
        classes = [one for one in classes if one.label == THERE]
    _classes(audited, section, classes)
    rank = {one.label: i for i, one in enumerate(classes)}
    order = sorted(
        elsewhere.nonzero()[:, 0].tolist(),
        key=lambda i: (not took[i], rank.get(int(audited.top[donors[i]]), len(rank)), i),
    )
    of_donor = {found[i][0]: found[i] for i in reversed(order)}  # one picture of each square: the first
    shown = [pair for pair in (found[i] for i in order) if of_donor[pair[0]] == pair][:SHOWN]
    path = audited.out / "pictures" / "spurious.png"
    pictures_figure([_line(audited, *pair) for pair in shown], path)
    section.figures.append(Figure(path, "Squares that were pasted: those first that took their class along"))
    return section


@dataclass(frozen=True)
class _Words:
    """What the page says, of classes or of a finding."""

    title: str
    question: str
    whose: str
    beside: str
    heading: str
    note: str


_OF_CLASSES = _Words(
    "Does a thing beside the object carry a class?",
    "Is no class carried by a thing beside its object?",
    "its own objects",
    "the object",
    "class",
    "How often pictures of other classes get a class with a square of its own pictures pasted in, and of others'; "
    f"classes of at least {FEW} squares, those that carry most first.",
)
_OF_A_FINDING = _Words(
    "Does a thing beside the finding carry it?",
    "Is the finding not carried by a thing beside it?",
    "it",
    "it",
    "finding",
    "How often pictures without the finding get it with a square from beside it, and with one of others without it.",
)


def _words(audited: Audited) -> _Words:
    return _OF_CLASSES if audited.finding is None else _OF_A_FINDING


def _what_was_done(audited: Audited, pairs: int, share: str) -> list[str]:
    taken = (
        "the square of a quarter of the side was taken where most of the map lies beside the object, without what it "
        "holds of the object, and pasted at the same place into "
    )
    if audited.finding is None:
        return [
            f"Of each picture that it is right on, {taken}pictures of other classes. Of {pairs} such pictures {share} "
            "then get the class that the square comes from.",
            "A thing that takes its class along is a shortcut: the network needs no object for it. What counts is how "
            "much more often a class is said with a square of its own than with squares of other classes.",
        ]
    return [
        f"Of each picture in which it finds {audited.finding} rightly, {taken}pictures that don't show it and of which "
        f"it isn't said. Of {pairs} such pictures {share} then get it.",
        "A thing that takes the finding along is a shortcut: the network needs no finding for it. What counts is how "
        "much more often it is said with such a square than with the same square of a picture without it.",
    ]


def pasted_pairs(audited: Audited) -> list[tuple[int, int, int]]:
    """(donor, recipient, what is said of the recipient with the donor's square) of each pair, as rows' places.

    Of a finding all donors are of one class. So each of their squares is pasted once more into the same pictures, as
    another picture without the finding has it: what any square does.
    """
    known = ~audited.rows("beside").isnan().any(1)
    donors = (known & (~audited.labelled | audited.right)).nonzero()[:, 0]
    donors = donors[torch.tensor(evenly_spread(len(donors), audited.at_most(MOST)), dtype=torch.int64)]
    each = max(1, min(EACH, MOST // max(len(donors), 1)))
    draws = torch.Generator().manual_seed(audited.plan.seed)
    classifier, found = audited.classifier, []
    for donor, recipients in partners(audited.top, audited.labels, donors, each, draws, audited.groups):
        own, square = square_of(audited, donor)
        givers = [(donor, own.image, recipients)]
        without = [place for place in recipients if audited.top[place] != audited.top[donor]]
        if audited.finding is not None and (other := control_of(audited, without, draws)) is not None:
            givers.append((other, audited.picture(other)[1].image, without))
        for giver, image, places in givers:
            for part in [places[i : i + audited.plan.batch] for i in range(0, len(places), audited.plan.batch)]:
                others = torch.stack([audited.picture(place)[1].image for place in part])
                changed = torch.where(square, image, others).to(classifier.device)
                with eval_mode(classifier), torch.no_grad():
                    said = classifier.logits(classifier.prepare(changed)).argmax(1).tolist()
                found += [(giver, place, c) for place, c in zip(part, said, strict=True)]
    return found


def control_of(audited: Audited, recipients: list[int], draws: torch.Generator) -> int | None:
    """A picture that doesn't show the finding, of which it isn't said and that is none of the recipients; None where
    there is none."""
    free = audited.absent & (audited.top != THERE)
    free[recipients] = False
    places = free.nonzero()[:, 0]
    return int(places[int(torch.randint(len(places), (1,), generator=draws))]) if len(places) else None


def partners(
    top: Tensor, labels: Tensor, donors: Tensor, each: int, draws: torch.Generator, groups: Tensor | None = None
) -> list[tuple[int, list[int]]]:
    """Each donor with pictures that neither are nor are said to be of the donor's class, and one that is said to be: of
    a class alone this tells what any square does. All are drawn about equally often.

    Args:
        top, labels: (N,), what is said of all pictures, and what is true or -1.
        donors: places among them.
        each: so many pictures of other classes for a donor, or all that there are.
        draws: shuffles.
        groups: (N,) int64, pictures of one subject, which get no square of each other; None is each by itself.
    """
    whose = or_alone(groups, len(top))
    order = torch.randperm(len(top), generator=draws)
    found = []
    for turn, donor in enumerate(donors.tolist()):
        turned = order.roll(-turn * each)
        turned = turned[whose[turned] != whose[donor]]
        same = top[turned] == top[donor]
        allowed = ~same & (labels[turned] != top[donor])
        found.append((donor, [*turned[allowed][:each].tolist(), *turned[same][:1].tolist()]))
    return found


def square_of(audited: Audited, donor: int) -> tuple[Sample, Tensor]:
    """A picture, and the pixels (H,W) bool of its square beside the object that are none of the object's."""
    own, there = audited.object_of(donor)
    top, left = audited.rows("beside")[donor, :2].long().tolist()
    side = beside_side(*there.shape)
    square = torch.zeros_like(there)
    square[top : top + side, left : left + side] = True
    return own, square & ~there


@dataclass(frozen=True)
class Carried:
    """One class.

    Attributes:
        label: its index.
        squares: how many of it were pasted.
        subjects: of how many subjects these are; as many where each picture is by itself.
        own: said and asked: of pictures with one of them, how many then get this class. In independent pictures, as
            ``effective`` counts them.
        others: the same of squares of other classes. Both are in pictures that are not of this class, nor said to be.
    """

    label: int
    squares: int
    own: tuple[float, float]
    others: tuple[float, float]
    subjects: int = 0

    def gain(self, level: float = LEVEL) -> Interval:
        """How much more often its own squares make it be said than others' do."""
        found = difference(self.own, self.others, level)
        return Interval(found.value, found.low, found.high, self.squares)

    def could_be_found(self, bound: float, level: float) -> bool:
        """Would it be beyond the bound, did all of its squares carry it and none of the others?"""
        most = self.subjects or self.squares
        return difference((most, most), (0, self.others[1]), level).low > bound


def carried_by_class(
    top: Tensor, labels: Tensor, donors: Tensor, recipients: Tensor, said: Tensor, groups: Tensor | None = None
) -> list[Carried]:
    """Classes of at least ``FEW`` squares, those that carry most first.

    Args:
        top, labels: (N,), what is said of all pictures, and what is true or -1.
        donors, recipients, said: (P,), places among them, and what is said of the recipient with the donor's square.
        groups: (N,) int64, pictures whose squares are taken as alike; None is each by itself.
    """
    found, whose = [], or_alone(groups, len(top))[donors]
    for c in top[donors].unique().tolist():
        free = (top[recipients] != c) & (labels[recipients] != c)
        own, other = (top[donors] == c) & free, (top[donors] != c) & free
        squares = len(donors[own].unique())
        if squares >= FEW:
            of_own, of_others = (effective(whose[rows], said[rows] == c) for rows in (own, other))
            found.append(Carried(c, squares, of_own, of_others, len(whose[own].unique())))
    return sorted(found, key=lambda one: (-one.gain().value, one.label))


def verdict_of(found: list[Carried], bound: float) -> tuple[bool | None, list[Carried]]:
    """Does it hold, and which classes are beyond the bound, surely or else by their estimates?

    It fails where a class is beyond by its whole interval, of a level that leaves one false alarm in 20 over all
    classes (Bonferroni). It holds where no class that could be found out is beyond by its estimate, and there is one.
    """
    level = strict_level(found)
    suspects = [one for one in found if one.gain(level).low > bound]
    if suspects:
        return False, suspects
    asked = [one for one in found if one.could_be_found(bound, level)]
    beyond = [one for one in asked if one.gain().value > bound]
    return (None if beyond or not asked else True), beyond


def _classes(audited: Audited, section: Section, found: list[Carried]) -> None:
    bound, words = audited.plan.limits.spurious, _words(audited)
    if not found:
        section.criteria.append(
            Criterion("spurious", words.question, None, f"no {words.heading} has {FEW} pictures to take from")
        )
        return
    level = strict_level(found)
    holds, named = verdict_of(found, bound)
    asked = [one for one in found if one.could_be_found(bound, level)]
    if not asked:
        figure = f"none of {len(found)} classes has pictures enough to be found out"
    else:
        shown, at = named or asked[:1], level if holds is False else LEVEL
        listed = "; ".join(f"{audited.name(one.label)} {one.gain(at).times(100).text(0)}" for one in shown)
        figure = (
            f"said more often with squares from beside {words.whose} than with "
            f"others', in points, at most {100 * bound:g}: {listed}"
            + ("" if named or len(asked) == 1 else f", the most of {len(asked)} classes")
        )
    section.criteria.append(Criterion("spurious", words.question, holds, figure))
    if holds is False:
        names = [audited.name(one.label) for one in named]
        section.says.append(
            f"{few(names)}: a thing beside {words.beside} is enough. Look at the squares: is it a mark, a frame, a "
            f"person, a place that has nothing to do with the {words.heading}?"
        )
    section.tables.append(
        Listing(
            [words.heading, "squares", "said with its own", "with others'", "carried, in points, 95% interval"],
            [[audited.name(one.label), one.squares, *(f"{100 * said / asked:.0f}%" if asked else ""
              for said, asked in (one.own, one.others)), one.gain().times(100).text(0)] for one in found],
            words.note,
        )
    )  # fmt: skip
    section.numbers["classes"] = [
        {"class": audited.name(one.label), "index": one.label, "squares": one.squares, "own": one.own[0] / one.own[1],
         "others": one.others[0] / one.others[1] if one.others[1] else None, "carried": one.gain().plain()}
        for one in found
    ]  # fmt: skip


def _line(audited: Audited, donor: int, recipient: int, said: int) -> list[tuple[str, Tensor]]:
    own, square = square_of(audited, donor)
    other = audited.picture(recipient)[1]
    small = audited.rows("maps")[donor].reshape(14, 14).float()
    frame = torch.tensor(FRAME)[:, None, None]
    return [
        (f"{audited.name(int(audited.top[donor]))}, its square", torch.where(_edge(square), frame, own.image)),
        ("its map", small / small.max().clamp(min=1e-9)),
        (f"said of this: {audited.name(int(audited.top[recipient]))}", other.image),
        (f"with the square: {audited.name(said)}", torch.where(square, own.image, other.image)),
    ]


def _edge(pixels: Tensor, width: int = 2) -> Tensor:
    """The rim of a set of pixels (H,W) bool."""
    inner = -torch.nn.functional.max_pool2d(-pixels[None].float(), 2 * width + 1, 1, width)[0]
    return pixels & (inner < 0.5)


def _unknown(audited: Audited, section: Section, why: str) -> Section:
    section.not_done = why
    section.criteria.append(Criterion("spurious", _words(audited).question, None, why))
    return section
