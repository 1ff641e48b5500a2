"""SESS (Tursun et al. 2022): faithfulness, the pointing game, scales and filter, time."""

from __future__ import annotations

from typing import Any

from maskwise.studies.claim import Claim, Condition, Table, below
from maskwise.studies.figures import dots, lines
from maskwise.studies.jobs import Explain
from maskwise.studies.protocol import SECONDS, Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

METHODS = {"Grad-CAM": "grad_cam", "Guided-BP": "guided_backprop", "Group-CAM": "group_cam"}
NETWORKS = {"ResNet-50": "main", "VGG-16": "second"}
MEASURING: dict[str, Any] = {"scales": 10, "prefilter": 0.9, "smooth": False}
POINTING: dict[str, Any] = {"scales": 10, "prefilter": 0.99, "smooth": False}
INSERTION = Column("insertion", "insertion", lower=False)
DELETION = Column("deletion", "deletion")
OVERALL = Column("overall", "insertion_deletion", lower=False)
FEW = {"smoke": 2, "small": 40, "full": 5000}  # pictures
OPTIONS: dict[str, dict[str, Any]] = {"group_cam": {"groups": 4}, "rise": {"masks": 8}, "xrai": {"steps": 2},
                                      "extremal_perturbation": {"iterations": 2, "areas": [0.1]}}  # fmt: skip


# The printed rows are TorchRay's (Fong et al. 2019), half of them of a network with batch norm and skips.
TORCHRAY: dict[str, dict[str, Any]] = {
    "excitation_backprop": {"variant": "torchray"}, "contrastive_excitation_backprop": {"variant": "torchray"}
}  # fmt: skip


def method(name: str, scale: Scale, sess: dict[str, Any] | None = None, **more: Any) -> Explain:
    """A method with the paper's options, or smaller ones at the smoke scale."""
    if sess is not None and scale.smoke:
        sess = {**sess, "scales": min(sess["scales"], 2)}
    return Explain(name, TORCHRAY.get(name, {}) | (OPTIONS.get(name, {}) if scale.smoke else {}), sess, **more)


def network(scale: Scale, role: str) -> str:
    return "" if scale.full else scale.classifiers[role]


def faithfulness(scale: Scale) -> list[GridCell]:
    return [
        GridCell(f"{called}{' + SESS' if sess else ''} ({net})",
             method(name, scale, MEASURING if sess else None, network=role, limit=FEW[scale.like]),
             network(scale, role))
        for net, role in NETWORKS.items()
        for called, name in METHODS.items()
        for sess in (False, True)
    ]  # fmt: skip


def helps(column: str, networks: list[str], by: float = 0.0) -> Claim:
    """Every method is better inside SESS, by more than ``by``."""

    def parts(table: Table) -> list[Condition]:
        return [below(table, column, f"{m} ({n})", f"{m} + SESS ({n})", by) for n in networks for m in METHODS]

    return Claim(f"SESS raises {column} of every base method", parts)


register_study(
    Study(
        "sess-faithfulness",
        "are maps inside SESS more faithful, by insertion and deletion?",
        "sess_table1",
        (INSERTION, DELETION, OVERALL),
        faithfulness,
        (helps("overall", list(NETWORKS)),),
        figure=dots("overall"),
        notes=("n = 10, r = 0.9, no smoothing; all rows are of the same pictures, cropped to the network's input.",),
    )
)

RIVALS = {
    "RISE": "rise",
    "EBP": "excitation_backprop",
    "EP": "extremal_perturbation",
    "Center": "center",
    "Gradient": "gradient",
    "Deconvnet": "deconvnet",
    "Contrastive EBP": "contrastive_excitation_backprop",
}


def pointing(scale: Scale) -> list[GridCell]:
    pairs = [
        GridCell(f"{called}{' + SESS' if sess else ''}", method(name, scale, POINTING if sess else None))
        for called, name in METHODS.items()
        for sess in (False, True)
    ]
    return [*pairs, *(GridCell(called, method(name, scale)) for called, name in RIVALS.items())]


def points(column: str) -> Claim:
    def parts(table: Table) -> list[Condition]:
        return [below(table, column, name, f"{name} + SESS") for name in METHODS]

    return Claim(f"SESS raises the pointing game of every base method ({column})", parts)


register_study(
    Study(
        "sess-pointing",
        "does the brightest pixel lie on the object, on crowded pictures?",
        "sess_table3",
        (Column("all", "pointing", lower=False), Column("difficult", "pointing_difficult", lower=False)),
        pointing,
        (points("all"), points("difficult")),
        resize="none",
        target="each",
        figure=dots("all", "difficult"),
        notes=(
            "n = 10, r = 0.99, no smoothing; pictures keep their size; every class of a picture is asked for, so the "
            "network must know the data's classes (see the option classifier); 15 pixels of tolerance.",
            "EBP and contrastive EBP share additions and pass batch norms as TorchRay does, whose rows are printed.",
            "Difficult: small objects beside distractors, by the rule of TorchRay, not by its list.",
        ),
    )
)

SCALES, RATIOS = (1, 2, 4, 6, 8, 10, 12), (0.0, 0.25, 0.5, 0.75, 0.9, 0.99)


def sess_ablation(scale: Scale) -> list[GridCell]:
    few: dict[str, Any] = {"limit": {"smoke": 2, "small": 40, "full": 2000}[scale.like]}
    by_scales = [
        GridCell(f"scales {n}", method("grad_cam", scale, {"scales": n, "prefilter": 0.0, "smooth": False}, **few))
        for n in SCALES
    ]
    by_ratio = [
        GridCell(f"filter {r:g}", method("grad_cam", scale, {"scales": 10, "prefilter": r, "smooth": False}, **few))
        for r in RATIOS
    ]
    return [GridCell("Grad-CAM", method("grad_cam", scale, **few)), *by_scales, *by_ratio]


def free(table: Table) -> list[Condition]:
    return [below(table, "overall", "filter 0", "filter 0.5", -1)]


register_study(
    Study(
        "sess-ablation",
        "how many scales, and how many windows can be left out?",
        "sess_ablation",
        (INSERTION, DELETION, OVERALL, Column("seconds", SECONDS)),
        sess_ablation,
        (
            Claim("More scales help: overall is higher with 10 or 12 than with 2",
                  lambda t: [below(t, "overall", "scales 2", f"scales {n}") for n in (10, 12)]),
            Claim("Leaving out half of the windows costs less than a point of overall", free),
        ),
        figure=lines("overall", {"scales": "number of scales", "filter": "share of windows that is left out"}),
        notes=("Scales are counted with r = 0, the filter's share r with n = 10; no smoothing.",),
    )
)  # fmt: skip

TIMES = [(6, 0.0), (12, 0.0), (6, 0.5), (12, 0.5), (6, 0.99), (12, 0.99)]


def time(scale: Scale) -> list[GridCell]:
    few: dict[str, Any] = {"limit": {"smoke": 1, "small": 8, "full": 5000}[scale.like]}
    found = []
    for called, name in METHODS.items():
        found.append(GridCell(called, method(name, scale, **few)))
        for n, r in TIMES:
            sess = {"scales": n, "prefilter": r, "smooth": False}
            found.append(GridCell(f"{called} n={n} r={r:g}", method(name, scale, sess, **few)))
    rivals = {"RISE": "rise", "Score-CAM": "score_cam", "XRAI": "xrai"}
    return [*found, *(GridCell(called, method(name, scale, **few)) for called, name in rivals.items())]


def cheaper(table: Table) -> list[Condition]:
    return [
        below(table, "seconds", f"{m} n={n} r={b}", f"{m} n={n} r={a}")
        for m in METHODS
        for n in (6, 12)
        for a, b in (("0", "0.5"), ("0.5", "0.99"))
    ]


register_study(
    Study(
        "sess-time",
        "what does SESS cost?",
        "sess_table2",
        (Column("seconds", SECONDS),),
        time,
        (
            Claim("Leaving windows out saves time, with every method", cheaper),
            Claim("Filtered, SESS around any of the three takes less time than RISE and XRAI",
                  lambda t: [below(t, "seconds", f"{m} n=12 r=0.99", r) for m in METHODS for r in ("RISE", "XRAI")]),
        ),
        resize="crop",
        batch=1,  # pictures of one batch have its time in common, and would seem to agree
        figure=dots("seconds"),
        notes=("Of a picture at the network's input size, alone, without reading it; one before it is not counted.",),
    )
)  # fmt: skip
