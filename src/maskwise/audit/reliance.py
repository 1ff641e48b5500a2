"""What is it right on with the object alone, and with the background alone?"""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.audit.evidence import FEW
from maskwise.audit.finding import Criterion, Listing, Section
from maskwise.audit.subject import Audited, Ratio
from maskwise.audit.wilson import wilson

_QUESTION = "Does it need the object?"


def reliance_section(audited: Audited) -> Section:
    """Accuracy on whole pictures, on objects alone and on backgrounds alone, refilled; against the class that was said
    where no label is known."""
    section = Section("background", "Does it answer by the background?")
    rows = audited.rows("objects")
    known = ~rows.isnan().any(1)
    if not known.any():
        section.not_done = "no picture has a box or a mask that leaves a background"
        section.criteria.append(Criterion("background", _QUESTION, None, section.not_done))
        return section
    labelled = bool(audited.labelled[known].any())
    known &= audited.labelled if labelled else torch.ones_like(known)
    truth = (audited.labels if labelled else audited.top)[known]
    whole, alone, hidden = (
        said == truth for said in (audited.top[known], rows[known, 2].long(), rows[known, 4].long())
    )
    shares = [wilson(int(right.sum()), len(truth)) for right in (whole, alone, hidden)]
    chance = float(truth.bincount().max()) / len(truth)
    part = audited.estimate(torch.stack([hidden, whole], 1).double() - chance, Ratio())
    word = "right" if labelled else "as on the whole picture"
    section.says = [
        f"What is missing is refilled ({audited.plan.fill}). Of {len(truth)} pictures its answer is {word} on "
        f"{shares[0].times(100).text(0, '%')} of the whole ones, {shares[1].times(100).text(0, '%')} with the object "
        f"alone, and {shares[2].times(100).text(0, '%')} with the background alone.",
        f"Above the {100 * chance:.0f}% that one and the same answer would get, the background alone gives "
        f"{part.times(100).text(0, '%')} of what whole pictures give. Boxes hold background and leave out shadows and "
        "parts, and a fill may draw on: read it as a comparison of classes rather than as a share of causes.",
    ]
    if shares[0].low <= chance:
        section.not_done = "on whole pictures it is no better than one and the same answer"
        section.criteria.append(Criterion("background", _QUESTION, None, section.not_done))
        return section
    bound = audited.plan.limits.background
    holds = None if part.low <= bound < part.high else part.high <= bound
    section.criteria.append(
        Criterion("background", _QUESTION, holds, f"{part.text()} of the accuracy above chance stays, bound {bound:g}")
    )
    section.tables.append(
        Listing(
            ["class", "pictures", "whole", "object alone", "background alone"],
            _by_class(audited, truth, [whole, alone, hidden]),
            "In percent; classes of at least five such pictures, those that need their object least first.",
        )
    )
    section.numbers = {
        "pictures": len(truth), "against": "labels" if labelled else "the class said of the whole picture",
        "whole": shares[0].plain(), "object": shares[1].plain(), "background": shares[2].plain(), "part": part.plain(),
    }  # fmt: skip
    return section


def _by_class(audited: Audited, truth: Tensor, right: list[Tensor]) -> list[list[str | int]]:
    classes, counts = truth.unique(return_counts=True)
    found = []
    for c, n in zip(classes.tolist(), counts.tolist(), strict=True):
        if n >= FEW:
            shares = [100 * float(one[truth == c].double().mean()) for one in right]
            found.append((shares[2] - shares[0], [audited.name(c), n, *(f"{share:.0f}" for share in shares)]))
    return [row for _, row in sorted(found, key=lambda item: (-item[0], item[1][0]))]
