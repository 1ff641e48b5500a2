"""Every explainer that is learned, at one budget, beside what costs no training."""

from __future__ import annotations

from dataclasses import dataclass

from maskwise.studies.claim import Claim, Condition, below
from maskwise.studies.figures import dots
from maskwise.studies.grids.pxap import PXAP, with_pxap
from maskwise.studies.jobs import LEAK_COLUMN, Explain, Leak, Train
from maskwise.studies.jobs.base import ExplainerJob
from maskwise.studies.protocol import SECONDS, Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study


@dataclass(frozen=True)
class LearnedRow:
    """One explainer that is trained.

    Attributes:
        recipe: at the full scale, and with the smoke scale's settings.
        small: the recipe of a small machine.
        steps: that half an hour of two cores buys there, labels and files of taps made first, by
            ``benchmarks/learned_budget.py``; the recipe's own number is for its page or its packaged masker.
        smoke: overrides that make the smoke scale a matter of moments.
        timed: overrides with which the benchmark asks what a step costs.
    """

    recipe: str
    small: str
    steps: int
    smoke: tuple[str, ...] = ()
    timed: tuple[str, ...] = ()

    def job(self, scale: Scale) -> Train:
        own = {"small": (f"steps={self.steps}",), "smoke": self.smoke}.get(scale.like, ())
        return Train(self.recipe, own, small=self.small)


def quick_views(method: str, **options: int) -> tuple[str, ...]:
    """A teacher that looks once."""
    view = f"teacher.views.{method}"
    return (f"{view}.scales=[32]", *(f"{view}.options.{key}={value}" for key, value in options.items()))


LEARNED = {
    "CASM": LearnedRow("casm", "casm_lite0", 1450),
    "its Baseline": LearnedRow("casm_baseline", "casm_baseline_lite0", 3250),
    "CASM of a class": LearnedRow("class_casm_lite0", "class_casm_lite0", 620),
    "NN-Explainer": LearnedRow("nn_explainer", "nn_explainer_lite0", 1650),
    "T-TAME": LearnedRow("ttame", "ttame_lite0", 3200),
    "distilled": LearnedRow("distilled", "distilled_lite0", 4650),
    "ladder, distilled": LearnedRow("ladder_lite0", "ladder_lite0", 6550, quick_views("excitation_backprop")),
    "regions": LearnedRow("regions_lite0", "regions_lite0", 4550),
    "Banzhaf values": LearnedRow("banzhaf_lite0", "banzhaf_lite0", 6700, quick_views("banzhaf", masks=4)),
    "Shapley values": LearnedRow(
        "shapley_lite0", "shapley_lite0", 1200, ("surrogate_steps=1", "masks=2"), ("surrogate_steps=1",)
    ),
    "ranking": LearnedRow("ranking", "ranking_lite0", 470, ("fractions=2", "cells=[2,4]")),
}
FREE = {"Grad-CAM": "grad_cam", "excitation backprop": "excitation_backprop", "centre box": "center"}


def learned_cells(scale: Scale) -> list[GridCell]:
    jobs: dict[str, ExplainerJob] = {row: learned.job(scale) for row, learned in LEARNED.items()}
    jobs |= {row: Explain(method) for row, method in FREE.items()}
    rows = [GridCell(row, job) for row, job in jobs.items()]
    return [*with_pxap(rows), *(GridCell(row, Leak(job), part=LEAK_COLUMN.name) for row, job in jobs.items())]


register_study(
    Study(
        "learned",
        "which learned explainer is worth its training, at one budget?",
        None,
        (
            Column("LE", "le"),
            Column("F1", "f1", lower=False),
            Column("MaxBoxAccV2", "max_box_acc_v2", lower=False),
            Column("area", "area", lower=None),
            Column("insertion", "insertion", lower=False),
            Column("deletion", "deletion"),
            PXAP,
            LEAK_COLUMN,
            Column("seconds", SECONDS),
        ),
        learned_cells,
        (
            Claim("CASM's pool is worth its cost: the LE lies below its Baseline's by more than 5 points",
                  lambda t: [below(t, "LE", "CASM", "its Baseline", 5)]),
            Claim("A masker that is taught by other methods localises better than Grad-CAM",
                  lambda t: [below(t, "LE", "distilled", "Grad-CAM")]),
            Claim("A class to ask for is worth more than the pool alone",
                  lambda t: [below(t, "LE", "CASM of a class", "CASM")]),
            Claim("Ranking, whose loss they are, has the best insertion and deletion of all that are learned",
                  lambda t: [below(t, "insertion", row, "ranking") for row in LEARNED if row != "ranking"]
                  + [below(t, "deletion", "ranking", row) for row in LEARNED if row != "ranking"]),
            Claim("No explainer that is learned tells its own judge the class by the shape of its masks: the leak "
                  "check's gap lies below 5 points",
                  lambda t: [Condition(f"leak of {row}", t[row, LEAK_COLUMN.name], high=5) for row in LEARNED]),
        ),
        resize="squash",
        figure=dots("LE"),
        against=("Grad-CAM", "excitation backprop", "CASM"),
        notes=(
            "Budget at the small scale: 3,600 seconds of one core, labels and files of taps among them, which is half "
            "an hour of two cores; the steps that it buys were counted once, by benchmarks/learned_budget.py.",
            "Regions end sooner than that, where the loss on pictures that no step sees no longer falls.",
            "Leak: what a row's own judge gains by its masks over a judge who has seen random holes only, beyond what "
            "both make of a square or of blobs of that area (docs/leak.md); the smaller one of the two.",
            "Ranking is trained on insertion and deletion, so those two columns say of it what it was told to do.",
        ),
    )
)  # fmt: skip
