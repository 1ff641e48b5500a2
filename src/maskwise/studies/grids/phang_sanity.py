"""Phang, Park, Geras 2021, Fig. 4 and Table 5: do FIX and CA pass the sanity checks?"""

from __future__ import annotations

from maskwise.studies.claim import Claim, Condition, Table
from maskwise.studies.figures import dots
from maskwise.studies.jobs import CheckJob, Train
from maskwise.studies.protocol import Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

SIMILARITIES = {
    "rank abs": "rank correlation of absolute values with the first map",
    "rank no abs": "rank correlation with the first map",
    "HOG": "HOG similarity with the first map",
    "SSIM": "SSIM with the first map",
}
MASKERS = {"FIX": "phang/fix", "CA": "phang/ca"}


def sanity_cells(scale: Scale) -> list[GridCell]:
    return [
        GridCell(f"{kind} {check.upper()}", CheckJob(Train(recipe), check))
        for check in ("mprt", "drt", "roar")
        for kind, recipe in MASKERS.items()
    ]


def unlike(check: str) -> Claim:
    """Rank correlation without signs taken away: 1 is the same map, 0 nothing in common."""

    def parts(table: Table) -> list[Condition]:
        return [
            Condition(f"rank correlation of {kind} {check}", table[f"{kind} {check}", "rank no abs"], high=0.5)
            for kind in MASKERS
        ]

    what = {"MPRT": "once all layers are random", "DRT": "once it was trained on random labels"}[check]
    return Claim(
        f"{check} is passed: masks have little in common with the first ones {what} (rank correlation below 0.5)", parts
    )


def below_random(table: Table) -> list[Condition]:
    return [
        Condition(f"top-1 after random removal - after {kind}'s", table[f"{kind} ROAR", "below random"], low=0)
        for kind in MASKERS
    ]


register_study(
    Study(
        "phang-sanity",
        "do masks depend on the network, on its labels, and do they find what a new network needs?",
        "phang_table5",
        (
            *(Column(name, None, title=title) for name, title in SIMILARITIES.items()),
            Column("below random", None, lower=False, title="top-1 accuracy below random removal", unit="points"),
        ),
        sanity_cells,
        (
            unlike("MPRT"),
            unlike("DRT"),
            Claim("ROAR is passed: without masked pixels a network is worse than without random ones", below_random),
        ),
        figure=dots("rank no abs", "SSIM", "below random"),
        notes=(
            "MPRT: similarity of mask logits once all layers are random. DRT: to the masker of a network of shuffled "
            "labels; again: to that of a second training on the true ones, which is as alike as can be hoped for.",
            "ROAR: points of top-1, mean over the shares of pixels removed; the interval is Student's over the "
            "repeats of each training, or over seeds.",
        ),
    )
)  # fmt: skip
