"""Phang, Park, Geras 2021: objectives, layers, infilling, the final models."""

from __future__ import annotations

from maskwise.studies.claim import Claim, Condition, Table, alike, below
from maskwise.studies.estimate import mean
from maskwise.studies.figures import dots
from maskwise.studies.grids.pxap import PXAP, with_pxap
from maskwise.studies.jobs import Explain, Train
from maskwise.studies.protocol import Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

OM, LE = Column("OM", "om"), Column("LE", "le")
SM = Column("SM", "sm")
F1, MASK = Column("F1", "f1", lower=False), Column("Mask", "area", times=100, lower=None)
ALL = (OM, LE, SM, PXAP, F1, MASK)


def rows(letters: str, scale: Scale) -> list[GridCell]:
    """Rows of Table 1 by its letters."""
    jobs = {letter: Train(f"phang/{letter}") for letter in letters}
    return with_pxap([GridCell(letter, job, stand_in(job, scale)) for letter, job in jobs.items()])


def stand_in(job: Train, scale: Scale) -> str:
    infill = getattr(job.settings(scale), "infill", None)
    painted = job.recipe.rpartition("/")[2] in "tuwxyz"
    return f"{infill} for the network that needs published weights" if painted and not scale.full else ""


def both_better(table: Table) -> list[Condition]:
    """LE of In + MaxEnt against each of the two alone, for FIX and CA."""
    return [below(table, "LE", both, one) for both, one in (("g", "a"), ("g", "c"), ("i", "d"), ("i", "f"))]


def agnostic(table: Table, pairs: str) -> Condition:
    """Mean LE of CA's rows minus that of FIX's; pairs as FIX letter, CA letter."""
    fix, ca = mean([table[row, "LE"] for row in pairs[::2]]), mean([table[row, "LE"] for row in pairs[1::2]])
    return Condition(f"LE of {', '.join(pairs[1::2])} - {', '.join(pairs[::2])}", ca - fix, high=0)


register_study(
    Study(
        "phang-objectives",
        "which side of the mask should be judged, by which loss, and by one classifier or many?",
        "phang_table1",
        ALL,
        lambda scale: rows("abcdefghij", scale),
        (
            Claim("Both objectives together are better than either alone (LE)", both_better),
            Claim("Training against many classifiers (CA) is better than against one (FIX) on LE",
                  lambda t: [agnostic(t, "adbecfgihj"), agnostic(t, "gihj")]),
            Claim("With both objectives FIX comes within 3 points of CA", lambda t: [alike(t, "LE", "g", "i", 3)]),
        ),
        figure=dots("LE", "PxAP"),
        against=("g", "i"),
    )
)  # fmt: skip

LAYERS = {"1": "a", "2": "b", "3": "c", "4": "d", "5": "e", "2-5": "f", "3-5": "g", "4-5": "h"}


def layers(scale: Scale) -> list[GridCell]:
    letters = "abcdefghijklmnop"
    names = [f"{kind} {layer}" for kind in ("FIX", "CA") for layer in LAYERS]
    jobs = {name: Train(f"phang/table4_{letter}") for name, letter in zip(names, letters, strict=True)}
    return with_pxap([GridCell(name, job) for name, job in jobs.items()])


register_study(
    Study(
        "phang-layers",
        "which layers does the masker need to read?",
        "phang_table4",
        (OM, LE, F1, SM, PXAP, MASK),
        layers,
        (
            Claim("The last two layers suffice: Layer[4-5] is within 1 point of LE of Layer[2-5]",
                  lambda t: [below(t, "LE", f"{kind} 4-5", f"{kind} 2-5", -1) for kind in ("FIX", "CA")]),
            Claim("Early layers alone do not: Layer[1] and Layer[2] are worse than Layer[5]",
                  lambda t: [below(t, "LE", f"{kind} 5", f"{kind} {k}", 5) for kind in ("FIX", "CA") for k in "12"]),
        ),
        figure=dots("LE", "PxAP"),
    )
)  # fmt: skip


def worse_or_alike(table: Table) -> list[Condition]:
    """Infilling lowers LE by no more than half a point: FIX rows against n, CA rows against r."""
    pairs = [(row, "n") for row in "stuy"] + [(row, "r") for row in "vwxz"]
    return [
        Condition(f"LE of {row} - {plain}", table[row, "LE"] - table[plain, "LE"], low=-0.5) for row, plain in pairs
    ]


register_study(
    Study(
        "phang-infill",
        "does it help to paint the hole rather than to grey it out?",
        "phang_table1",
        ALL,
        lambda scale: rows("nrstuvwxyz", scale),
        (Claim("Infilling does not help: no infiller lowers LE by more than half a point", worse_or_alike),),
        figure=dots("LE"),
        notes=("Contextual attention and DFNet want published weights: the setting infill.weights=FILE, for cell t.",),
    )
)


def final(scale: Scale) -> list[GridCell]:
    models = [
        GridCell("Best FIX", Train("phang/fix")),
        GridCell("Best CA", Train("phang/ca")),
        GridCell("CASM", Train("casm", packaged="casm", small="casm_lite0")),
        GridCell("Dabkowski & Gal 2017", Train("dabkowski_gal", packaged="dabkowski_gal", small="dabkowski_gal_lite0")),
        GridCell("CAM", Explain("cam")),
        GridCell("Mask everything", Explain("uniform")),
        GridCell("Centre", Explain("center")),
    ]
    return with_pxap(models)


register_study(
    Study(
        "phang-final",
        "how good are the two simplest models, trained to the end?",
        "phang_final",
        (OM, LE, SM, PXAP),
        final,
        (
            Claim("CA has a lower LE than FIX", lambda t: [below(t, "LE", "Best CA", "Best FIX")]),
            Claim("CA is no worse than CASM (within 1 point of LE)", lambda t: [below(t, "LE", "Best CA", "CASM", -1)]),
            Claim("Both beat CAM on LE", lambda t: [below(t, "LE", row, "CAM") for row in ("Best FIX", "Best CA")]),
            Claim("CA has a higher PxAP than FIX", lambda t: [below(t, "PxAP", "Best FIX", "Best CA")]),
        ),
        figure=dots("LE", "PxAP"),
        notes=("Mask everything is a map of ones: its box is the whole picture.",),
    )
)
