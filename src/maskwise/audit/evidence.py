"""Is what it uses on the object?"""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.audit.figures import estimates_figure
from maskwise.audit.finding import Criterion, Figure, Interval, Listing, Section, stays_above, too_few
from maskwise.audit.subject import Audited, Ratio
from maskwise.core.text import first_few

FEW = 5  # pictures of a class, below which nothing is said of it
SHOWN = 24  # classes
_QUESTION = "Does the evidence lie on the object?"


def evidence_section(audited: Audited) -> Section:
    """How many times more of the map lies on the object than chance would have it; weaker signs where no object is
    known."""
    section = Section("evidence", "Is the evidence on the object?")
    known = ~audited.rows("objects").isnan().any(1)
    if known.any():
        _lift(audited, section, known)
    else:
        which = "no picture" if audited.finding is None else "no picture that shows it"
        section.criteria.append(Criterion("evidence", _QUESTION, None, f"{which} has a box or a mask"))
        section.says.append(
            f"{which[0].upper()}{which[1:]} has a box or a mask, so nobody can say what is the object. What follows is "
            "weaker: it tells odd maps from usual ones, and not wrong ones from right ones."
        )
    _elsewhere(audited, section)
    _agreement(audited, section)
    return section


def lifts(audited: Audited, known: Tensor) -> list[tuple[int, Interval]]:
    """Class, the true one where that is known, and lift: those of most pictures first, at least ``FEW``, and of as many
    subjects where those are known."""
    whose = torch.where(audited.labelled, audited.labels, audited.top)[known]
    rows = audited.rows("objects")[known, :2]
    classes, counts = whose.unique(return_counts=True)
    order = sorted(zip(counts.tolist(), classes.tolist(), strict=True), key=lambda pair: (-pair[0], pair[1]))
    places = known.nonzero()[:, 0]
    found = [(c, audited.estimate(rows[whose == c], Ratio(), places[whose == c])) for n, c in order if n >= FEW]
    return [(c, one) for c, one in found if one.subjects is None or one.subjects >= FEW]


def _lift(audited: Audited, section: Section, known: Tensor) -> None:
    rows = audited.rows("objects")[known, :2]
    lift, share, area = (
        audited.estimate(rows, Ratio(), known), audited.estimate(rows[:, 0], of=known),
        audited.estimate(rows[:, 1], of=known),
    )  # fmt: skip
    section.says.append(
        f"{share.times(100).text(0, '%')} of the maps lies on the object, which covers "
        f"{area.times(100).text(0, '%')} of the picture: {lift.text()} times as much as of a map that is the same "
        f"everywhere ({lift.count} pictures with boxes or masks)."
    )
    section.criteria.append(
        Criterion(
            "evidence", _QUESTION, stays_above(lift, 1), f"lift {lift.text()}, above chance, which is 1"
            + too_few(lift),
        )
    )  # fmt: skip
    section.numbers |= {"lift": lift.plain(), "share": share.plain(), "area": area.plain()}
    if audited.finding is not None:
        return
    numbered = lifts(audited, known)
    found = [(audited.name(c), one) for c, one in numbered]
    if not found:
        section.says.append(f"No class has {FEW} such pictures, so nothing is said of single classes.")
        return
    doubtful = [name for name, one in found if not one.low > 1]
    section.says.append(
        f"Classes with at least {FEW} such pictures: {len(found)}. "
        + (f"Not surely above chance: {first_few(doubtful)}." if doubtful else "Each is surely above chance.")
    )
    section.tables.append(
        Listing(
            ["class", "pictures", "lift", "95% interval", ""],
            [[name, one.count, f"{one.value:.2f}", one.ends(),
              "" if one.low > 1 else "chance is not excluded"] for name, one in found],
            "Lift of each class: 1 is chance.",
        )
    )  # fmt: skip
    path = audited.out / "pictures" / "lift.png"
    estimates_figure(
        found[:SHOWN], path, "lift: share of the map on the object over the object's area", (1.0, "chance")
    )
    section.figures.append(Figure(path, "Lift of the classes with most pictures, with 95% intervals"))
    section.numbers["classes"] = [{"class": audited.name(c), "index": c, **one.plain()} for c, one in numbered]


def _elsewhere(audited: Audited, section: Section) -> None:
    rows = audited.rows("elsewhere")[audited.shown]
    if not len(rows):
        return
    rim = audited.estimate(rows, Ratio(), audited.shown)
    section.says.append(
        f"Within a tenth of the side from the border lies {rim.text()} times as much of the maps as of the picture."
        + (" That is more than its part: look whether frames, texts or backgrounds count." if rim.low > 1 else "")
    )
    section.numbers["border"] = rim.plain()


def _agreement(audited: Audited, section: Section) -> None:
    if "agreement" not in audited.measured.metrics or not audited.shown.any():
        return
    alike = audited.estimate(audited.rows("agreement")[audited.shown, 0], of=audited.shown)
    section.says.append(
        f"Rank correlation with Grad-CAM's maps of the same class is {alike.text()}. Two methods that agree may be "
        "wrong together; two that don't can't both be right."
    )
    section.numbers["agreement"] = alike.plain()
