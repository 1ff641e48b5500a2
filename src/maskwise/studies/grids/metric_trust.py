"""Which metric can be trusted? Classifiers whose mechanism is known, maps of known quality, every metric and fill."""

from __future__ import annotations

from typing import Any

from maskwise.studies.claim import Claim, Condition, Table
from maskwise.studies.jobs.trust import ALL, TrustJob
from maskwise.studies.matrix_figure import matrix
from maskwise.studies.mechanisms import mechanisms
from maskwise.studies.protocol import Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

STEP = 1 / 14  # of the pixels, twice the default: pictures are small, and there are many
SUBSETS, SAMPLES = 50, 30  # of MuFidelity and infidelity: a quarter and a third of the defaults, likewise
MEAN, TELEA, LINEAR = {"fill": "mean"}, {"fill": "telea"}, {"fill": "noisy_linear"}
NEURAL = {"fill": "partial_conv"}  # the one network that comes with the package; the others want published weights
CURVES: dict[str, dict[str, Any]] = {
    "deletion, mean colour": {},
    "deletion, blur": {"fill": "blur"},
    "deletion, colour noise": {"fill": "colour_noise"},
    "deletion, telea": TELEA,
    "deletion, noisy linear": LINEAR,
    "deletion, partial convolution": NEURAL,
    "insertion, blur": {},
    "insertion, mean colour": MEAN,
    "insertion, colour noise": {"fill": "colour_noise"},
    "insertion, telea": TELEA,
    "insertion, noisy linear": LINEAR,
    "insertion, partial convolution": NEURAL,
    "insertion - deletion, blur and mean colour": {},
    "insertion - deletion, mean colour": MEAN,
    "insertion - deletion, telea": TELEA,
    "insertion - deletion, noisy linear": LINEAR,
    "insertion - deletion, partial convolution": NEURAL,
    "AOPC, mean colour": {},
}
KINDS = {"deletion": "deletion", "insertion": "insertion", "insertion - deletion": "insertion_deletion", "AOPC": "aopc"}
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "IDSDS, mean colour": ("idsds", MEAN),
    "IDSDS, mean colour, size of the loss": ("idsds", MEAN | {"signed": False}),
    "IDSDS, noisy linear": ("idsds", LINEAR),
    "MuFidelity, mean colour": ("mu_fidelity", MEAN | {"subsets": SUBSETS}),
    "infidelity, squares": ("infidelity", {"samples": SAMPLES}),
    "infidelity, Gaussian noise": ("infidelity", {"samples": SAMPLES, "kind": "gaussian"}),
    "average drop": ("average_drop", {}),
    "increase in confidence": ("increase_in_confidence", {}),
    "average gain": ("average_gain", {}),
    "conciseness-preciseness": ("conciseness_preciseness", {}),
    "saliency metric": ("sm", {}),
    "ROAD, most relevant first": ("road_morf", LINEAR),
    "ROAD, least relevant first": ("road_lerf", LINEAR),
    "ROAD, noisy linear": ("road", LINEAR),
    "ROAD, mean colour": ("road", MEAN),
    "ROAD, telea": ("road", TELEA),
    "ROAD, partial convolution": ("road", NEURAL),
}


# What the smoke scale is for is that every row runs: a few points of each curve, a few changes of each picture.
COARSE: dict[str, Any] = {"subsets": 10, "samples": 5}
COARSE_STEP, COARSE_PERCENT = 1 / 3, "40,90"


def trust_cells(scale: Scale) -> list[GridCell]:
    """One row a metric with its options."""
    smoke = scale.like == "smoke"
    step = COARSE_STEP if smoke else STEP
    curves = [
        GridCell(row, TrustJob(KINDS[row.partition(",")[0]], {"step": step, **options}))
        for row, options in CURVES.items()
    ]
    others = {row: (name, _coarse(name, options) if smoke else options) for row, (name, options) in OTHERS.items()}
    return [*curves, *(GridCell(row, TrustJob(name, options)) for row, (name, options) in others.items())]


def _coarse(name: str, options: dict[str, Any]) -> dict[str, Any]:
    fewer = {key: COARSE.get(key, value) for key, value in options.items()}
    return {"percent": COARSE_PERCENT, **fewer} if name.startswith("road") else fewer


def _difference(table: Table, row: str, than: str) -> Condition:
    return Condition(f"{row} - {than}", table[row, ALL] - table[than, ALL], low=0)


def both_ways(table: Table) -> list[Condition]:
    """The difference of two curves against each of them, with the fills that are usual."""
    both = "insertion - deletion, blur and mean colour"
    return [_difference(table, both, "insertion, blur"), _difference(table, both, "deletion, mean colour")]


def refilled(table: Table) -> list[Condition]:
    return [
        _difference(table, f"{kind}, noisy linear", f"{kind}, mean colour")
        for kind in ("deletion", "insertion", "insertion - deletion", "ROAD")
    ]


def single_numbers(table: Table) -> list[Condition]:
    curve = "insertion - deletion, blur and mean colour"
    return [_difference(table, curve, row) for row in ("average drop", "increase in confidence", "average gain")]


register_study(
    Study(
        "metric-trust",
        "which metric puts explanations in the order of their distance to the truth, where the truth is known?",
        None,
        (
            *(
                Column(name, None, lower=False, title=str(facts["title"]), unit="pairs in order - reversed")
                for name, facts in mechanisms.items()
            ),
            Column(ALL, None, lower=False, title="mean over the mechanisms", unit="pairs in order - reversed"),
        ),
        trust_cells,
        (
            Claim("insertion less deletion orders maps better than either curve alone", both_ways),
            Claim("filling holes from what is around them (ROAD) orders maps better than the mean colour", refilled),
            Claim("one look at the masked-in picture orders maps worse than curves do", single_numbers),
        ),
        figure=matrix("of pairs of maps: in order less reversed"),
        notes=(
            "Maps: the truth; the truth blurred, shifted, mixed with noise in steps, cut in half, and reversed; "
            "center, edges, random; and seven methods. How close each is to the truth: of all pairs of pixels that "
            "the truth orders, the share in its order less the share in the reverse.",
            "Number: of all pairs of maps whose closeness differs by more than 0.05, the share that the metric's mean "
            "over pictures puts in order, less the share that it reverses. 1 is the right order, 0 no relation.",
            "The pictures named below are the grounds on which squares, patterns and shapes are drawn; one half of "
            "them at most is measured, the others are for networks that are trained. Metrics as they are by default "
            "but for steps of 1/14 of the pixels, 50 subsets of MuFidelity and 30 changes of infidelity.",
        ),
    )
)  # fmt: skip
