"""Another checkpoint of the same classifier: did it get worse at looking, and do their maps agree?"""

from __future__ import annotations

import torch

from maskwise.audit.conflict import conflict
from maskwise.audit.finding import Criterion, Interval, Listing, Section, too_few
from maskwise.audit.subject import Audited, Ratio
from maskwise.core.bootstrap import Average, Statistic, paired
from maskwise.core.correlation import spearman

_QUESTION = "Is it no worse than the other checkpoint?"


def against_section(audited: Audited, other: Audited) -> Section:
    """Paired differences, this one's less the other's, on the same pictures; and how alike their maps are.

    Args:
        audited: what is audited.
        other: rows of the other checkpoint, by a method that both have.
    """
    section = Section("against", f"Against {other.classifier.name}")
    rows, found, worse = [], {}, []
    known = audited.labelled & other.labelled
    objects = ~(audited.rows("objects").isnan().any(1) | other.rows("objects").isnan().any(1))
    compared: list[tuple[str, torch.Tensor, torch.Tensor, Statistic, bool, torch.Tensor | None]] = []
    if known.any():
        compared.append(
            ("accuracy", audited.right[known].double()[:, None], other.right[known].double()[:, None], Average(), True,
             audited.groups_of(known))
        )  # fmt: skip
    if objects.any():
        compared.append(
            ("lift of evidence on the object", audited.rows("objects")[objects, :2], other.rows("objects")[objects, :2],
             Ratio(), True, audited.groups_of(objects))
        )  # fmt: skip
    both = known & objects
    exchanged = [conflict(one, audited.labels, both) for one in (audited, other)] if both.any() else []
    lost = [one for one in exchanged if one is not None and one.own_right.any()]
    if len(lost) == 2:
        name, (mine, theirs) = "part of the accuracy lost on another class's background", (one.rows() for one in lost)
        compared.append((name, mine, theirs, Ratio(), False, lost[0].groups))
    decided = False
    for name, mine, theirs, statistic, higher_is_better, groups in compared:
        difference, low, high = paired(statistic, mine, theirs, seed=audited.plan.seed, groups=groups)
        verdict = "undecided"
        enough = Interval(difference, low, high, len(mine), None if groups is None else len(groups.unique()))
        decided |= not enough.too_few
        if (low > 0 or high < 0) and not enough.too_few:
            verdict = "better" if (low > 0) is higher_is_better else "worse"
        if verdict == "worse":
            worse.append(name)
        rows.append([name, f"{difference:+.3f}", enough.ends("+.3f"), verdict])
        plain = enough.plain()
        found[name] = {"difference": difference, "low": plain["low"], "high": plain["high"], "verdict": verdict}
    same = audited.top == other.top
    alike = audited.estimate(spearman(audited.rows("maps"), other.rows("maps"), flat=0.0)[same], of=same)
    section.says = [
        f"Both say the same of {100 * float(same.double().mean()):.0f}% of the pictures. Of those the rank correlation "
        f"of their maps ({audited.method} and {other.method}) is {alike.text()}: how repeatable an explanation is from "
        "one training to the next."
    ]
    if rows:
        section.tables.append(Listing(["", "this less the other", "95% interval, paired", ""], rows))
    holds: bool | None = not worse
    figure = f"worse in {', '.join(worse)}" if worse else "in nothing surely"
    if not rows:
        holds, figure = None, "no picture has a label, a box or a mask"
    elif (few := audited.estimate(same.double())).too_few:
        holds, figure = None, figure + too_few(few)
    elif not decided:  # of all pictures there are enough, and of those that are known too few
        holds, figure = None, figure + too_few(enough)
    section.criteria.append(Criterion("worse", _QUESTION, holds, figure))
    section.numbers = {"differences": found, "maps": alike.plain(), "same_answer": float(same.double().mean())}
    return section
