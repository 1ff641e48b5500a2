"""Dabkowski & Gal 2017: a masker that is told the class, against gradients and boxes."""

from __future__ import annotations

from maskwise.studies.claim import Claim, below
from maskwise.studies.figures import dots
from maskwise.studies.grids.casm import DABKOWSKI_GAL
from maskwise.studies.grids.phang import LE, SM
from maskwise.studies.jobs import Explain
from maskwise.studies.study import GridCell, Study, register_study

RIVALS = ("Grad (Simonyan 2013)", "Exc (Zhang 2016)")

register_study(
    Study(
        "dabkowski-gal",
        "is a masker in one forward better than methods that go backwards?",
        "dabkowski_gal",
        (LE, SM),
        lambda scale: [
            GridCell("Masking model", DABKOWSKI_GAL),
            GridCell(RIVALS[0], Explain("gradient")),
            GridCell(RIVALS[1], Explain("excitation_backprop")),
            GridCell("Max box", Explain("uniform")),
            GridCell("Center box", Explain("center")),
        ],
        (
            Claim("The masking model has a lower LE than gradient methods",
                  lambda t: [below(t, "LE", "Masking model", rival) for rival in RIVALS]),
            Claim("The masking model has a lower saliency metric than gradient methods",
                  lambda t: [below(t, "SM", "Masking model", rival) for rival in RIVALS]),
            Claim("The centre box is worse than all of them on LE",
                  lambda t: [below(t, "LE", row, "Center box") for row in ("Masking model", *RIVALS)]),
        ),
        target="label",
        figure=dots("LE", "SM"),
        notes=("The class asked for is the picture's label, where it has one.",),
    )
)  # fmt: skip
