"""Every explainer there is: localisation error against cost."""

from __future__ import annotations

from typing import Any

from maskwise.explainers import methods
from maskwise.explainers.masker import packaged_masker
from maskwise.studies.grids.casm import SLOW
from maskwise.studies.grids.sess import OPTIONS
from maskwise.studies.jobs import Explain
from maskwise.studies.landscape_figure import landscape_figure
from maskwise.studies.protocol import SECONDS, Column
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study, register_study

COSTLY: dict[str, dict[str, Any]] = {  # at the smoke scale
    **SLOW,
    **OPTIONS,
    "banzhaf": {"masks": 4},
    "kernel_shap": {"masks": 4},
    "augmented_grad_cam": {"copies": 3, "iterations": 2},
    "dabkowski_gal_iterative": {"iterations": 2},
    "fido": {"iterations": 2, "samples": 2},
    "integrated_gradients": {"steps": 2},
    "smooth_grad": {"samples": 2},
    "smooth_grad_cam_pp": {"samples": 2},
}
SESS_AROUND = ("grad_cam", "casm")
FEW = 2000  # pictures, where a scale does not say: on 50,000 some methods would take weeks on a GPU


def landscape_cells(scale: Scale) -> list[GridCell]:
    found, limit = [], FEW if scale.full else None
    for name, facts in methods.items():
        if not scale.packaged and facts["family"] == "maskers":  # the packaged ones are of another network
            continue
        if facts["family"] == "maskers" and not packaged_masker(name).is_file():
            continue
        if facts["family"] == "attention":  # the network has none
            continue
        options: dict[str, Any] = COSTLY.get(name, {}) if scale.smoke else {}
        found.append(GridCell(name, Explain(name, options, limit=limit)))
    around = [name for name in SESS_AROUND if scale.packaged or name == "grad_cam"]
    sess = {"scales": 2 if scale.smoke else 10, "prefilter": 0.9}
    return [*found, *(GridCell(f"{name} + SESS", Explain(name, sess=sess, limit=limit)) for name in around)]


register_study(
    Study(
        "landscape",
        "localisation error against seconds a picture, for every explainer",
        None,
        (Column("LE", "le"), Column("seconds", SECONDS)),
        landscape_cells,
        resize="squash",
        figure=landscape_figure,
        notes=("Seconds are of one picture's map in the classifier's batches, on the machine named below.",),
    )
)
