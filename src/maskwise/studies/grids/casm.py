"""CASM (Zolna, Geras, Cho 2020): localisation, ablation, mask statistics, classes that were never seen."""

from __future__ import annotations

from typing import Any

from maskwise.studies.claim import Claim, Condition, Table, alike, below
from maskwise.studies.figures import dots
from maskwise.studies.jobs import Explain, Train, TrainOnSome
from maskwise.studies.protocol import Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

LE, OM, F1 = Column("LE", "le"), Column("OM", "om"), Column("F1", "f1", lower=False)
CASM = Train("casm", packaged="casm", small="casm_lite0")
BASELINE = Train("casm_baseline", packaged="casm_baseline", small="casm_baseline_lite0")
DABKOWSKI_GAL = Train("dabkowski_gal", packaged="dabkowski_gal", small="dabkowski_gal_lite0")

# The papers that Table 1 quotes, and what does here what they did.
QUOTED = {
    "Bach 2015": "lrp",
    "Zeiler & Fergus 2014": "occlusion",
    "Zhou 2016": "cam",
    "Selvaraju 2017": "grad_cam",
    "Fong & Vedaldi 2017": "meaningful_perturbation",
    "Mahendran & Vedaldi 2016": "desalinet",
    "Simonyan 2013": "gradient",
    "Cao 2015": "feedback",
    "Zhang 2016": "excitation_backprop",
    "Du 2018": "guided_feature_inversion",
}
SLOW: dict[str, dict[str, Any]] = {  # and their options at the smoke scale
    "meaningful_perturbation": {"iterations": 2},
    "guided_feature_inversion": {"iterations": 4, "inversion": 2},
    "feedback": {"iterations": 2},
    "occlusion": {"stride": 1 / 4, "window": 1 / 4},
}


def quick(method: str, scale: Scale) -> dict[str, Any]:
    """Options that make an optimisation a matter of moments at the smoke scale."""
    return SLOW.get(method, {}) if scale.smoke else {}


def localisation(scale: Scale) -> list[GridCell]:
    limit = 50 if scale.like == "small" else None  # pictures: some of these take half a minute each on two cores
    note = "" if limit is None else f"{limit} pictures of each set"
    return [
        GridCell("CASM", CASM),
        GridCell("Baseline", BASELINE),
        GridCell("Fan 2017", Train("fan")),
        GridCell("Dabkowski & Gal 2017", DABKOWSKI_GAL),
        *(
            GridCell(row, Explain(method, quick(method, scale), limit=limit if method in SLOW else None),
                 note if method in SLOW else "", method)
            for row, method in QUOTED.items()
        ),
        GridCell("Centre box", Explain("center")),
        GridCell("Whole picture", Explain("uniform")),
    ]  # fmt: skip


def base_methods(table: Table) -> list[Condition]:
    return [below(table, "LE", "CASM", row) for row in QUOTED]


register_study(
    Study(
        "casm-localisation",
        "does a classifier-agnostic masker localise better than a baseline and than methods of one classifier?",
        "casm_table1",
        (OM, LE),
        localisation,
        (
            Claim("CASM's LE lies below the Baseline's by more than 10 points",
                  lambda t: [below(t, "LE", "CASM", "Baseline", 10)]),
            Claim("CASM's LE lies below that of every weakly supervised method of one classifier", base_methods),
        ),
        figure=dots("LE"),
        notes=("OM counts the first guess of the network that the masker reads, which CASM has trained on.",),
    )
)  # fmt: skip

ROWS = {
    "A": BASELINE, "B": Train("casm_l"), "C": Train("casm_fl"), "D": Train("casm_l1000"), "E": CASM,
    "F": Train("casm_c_f"), "G": Train("casm_c_l"), "H": Train("casm_c"),
    "I": Train("casm_unshared_f"), "J": Train("casm_unshared_l"), "K": Train("casm_unshared"),
}  # fmt: skip


def casm_ablation(scale: Scale) -> list[GridCell]:
    short = "240 steps keep the first classifier only, as in C" if scale.name == "small" else ""
    # All rows by one schedule: the packaged maskers had another number of pixels and other taps.
    jobs = {row: Train(job.recipe) for row, job in ROWS.items()}
    return [GridCell(row, job, short if row == "D" else "") for row, job in jobs.items()]


register_study(
    Study(
        "casm-ablation",
        "which part of CASM matters: the pool, the score, the shared encoder?",
        "casm_table2",
        (OM, LE, F1),
        casm_ablation,
        (
            Claim("Classifiers that change (L100) are better than the fixed one, F, by either score",
                  lambda t: [below(t, "LE", "E", "A"), below(t, "LE", "H", "F")]),
            Claim("L100, L1000 and L are alike (LE within 2 points)",
                  lambda t: [alike(t, "LE", "E", "D", 2), alike(t, "LE", "E", "B", 2)]),
            Claim("FL lies between them and the fixed classifier F",
                  lambda t: [below(t, "LE", "E", "C"), below(t, "LE", "C", "A")]),
            Claim("The entropy score is better than the classification score",
                  lambda t: [below(t, "LE", "A", "F"), below(t, "LE", "B", "G"), below(t, "LE", "E", "H")]),
            Claim("A shared encoder is better than one of its own",
                  lambda t: [below(t, "LE", "A", "I"), below(t, "LE", "B", "J"), below(t, "LE", "E", "K")]),
        ),
        figure=dots("LE"),
        against=("A",),
    )
)  # fmt: skip

register_study(
    Study(
        "casm-statistics",
        "are masks smoother and more decided, and do their sizes follow the picture?",
        "casm_statistics",
        (
            Column("TV", "tv_sum"),
            Column("entropy", "entropy_one_sided"),
            Column("spread", "area_std", lower=False),
            Column("area", "area", lower=None),
        ),
        lambda scale: [GridCell("CASM", CASM), GridCell("Baseline", BASELINE)],
        (
            Claim("CASM's masks have a lower total variation", lambda t: [below(t, "TV", "CASM", "Baseline")]),
            Claim("CASM's masks have a lower entropy", lambda t: [below(t, "entropy", "CASM", "Baseline")]),
            Claim("The size of CASM's masks varies more", lambda t: [below(t, "spread", "Baseline", "CASM")]),
        ),
        notes=("The spread is over all pictures, where the released code takes batches of 128.",),
    )
)

SHARES = {"F": 0.2, "EF": 0.5, "DEF": 0.8, "CDEF": 0.9, "BCDEF": 0.95, "ALL": 1.0}


def unseen(scale: Scale) -> list[GridCell]:
    jobs = {row: TrainOnSome("casm_l", share=share) for row, share in SHARES.items()}
    return [
        GridCell(row, job, first_note(job, scale), f"trained on {SHARES[row]:.0%} of the classes")
        for row, job in jobs.items()
    ]


def first_note(job: TrainOnSome, scale: Scale) -> str:
    """How the row's f(0) came about."""
    if not job.retrains(scale):
        return "f(0): the pretrained network"
    how = {"scratch": "from nothing", "reinitialised": "its last layers from nothing"}[job.first(scale).start]
    return f"f(0): trained on the same classes, {how}"


def generalisation_gap(table: Table, row: str, most: float) -> Condition:
    return Condition(f"LE of {row}, unseen - seen", table[row, "unseen"] - table[row, "seen"], high=most)


register_study(
    Study(
        "casm-unseen",
        "does a masker work on classes that it was not trained on?",
        "casm_table3",
        (
            Column("LE", "le"),
            *(
                Column(name, None, title=f"localisation error, {name} classes", unit="%")
                for name in ("all", "seen", "unseen")
            ),
        ),
        unseen,
        (
            Claim("Trained on half of the classes or more, unseen ones are less than 3 points worse",
                  lambda t: [generalisation_gap(t, row, 3) for row in ("EF", "DEF", "CDEF", "BCDEF")]),
            Claim("Fewer classes to train on, worse masks on all",
                  lambda t: [below(t, "all", a, b) for a, b in (("EF", "F"), ("ALL", "F"), ("ALL", "EF"))]),
        ),
        figure=dots("all"),
        notes=(
            "Classes are drawn by the seed, as shares of the training data's; the paper's own split is not known.",
            "As in the paper the classifier f(0) is trained on those classes first (recipe classifier_subset), then "
            "the masker with it. At the small scale a few thousand pictures do not train a network of 1,000 classes "
            "from nothing: f(0) keeps its first layers, which have seen all classes, and all after its last tap but "
            "one begins anew (classifier_subset_lite0), in the row ALL too.",
            "A row without a note on its f(0) was run before that, with the pretrained one, which had seen all "
            "classes: its unseen classes are unseen by the masker alone, which does not answer the paper's question.",
        ),
    )
)  # fmt: skip
