"""CASM, Fig. 3: what many classifiers still see of masked pictures."""

from __future__ import annotations

from maskwise.evaluation.panel import REFERENCES
from maskwise.studies.claim import Claim, Condition, Table, below
from maskwise.studies.figures import dots
from maskwise.studies.grids.casm import BASELINE, CASM
from maskwise.studies.jobs import PanelJob
from maskwise.studies.protocol import Column
from maskwise.studies.study import GridCell, Study, register_study


def against_baseline(column: str, lower: bool) -> Claim:
    def parts(table: Table) -> list[Condition]:
        rows = ("CASM", "Baseline") if lower else ("Baseline", "CASM")
        return [below(table, column, *rows)]

    return Claim(
        f"Accuracy on {column} pictures is {'lower' if lower else 'higher'} with CASM than with the Baseline", parts
    )


register_study(
    Study(
        "casm-panel",
        "do many classifiers keep their answer inside the mask, and lose it outside?",
        "casm_figure3",
        (
            Column("masked-in", None, lower=False, title="accuracy on masked-in pictures", unit="%"),
            Column("masked-out", None, title="accuracy on masked-out pictures", unit="%"),
            Column("inpainted", None, title="accuracy on inpainted masked-out pictures", unit="%"),
        ),
        lambda scale: [GridCell("panel", PanelJob((("CASM", CASM), ("Baseline", BASELINE))))],
        (
            against_baseline("masked-in", lower=False),
            against_baseline("masked-out", lower=True),
            against_baseline("inpainted", lower=True),
        ),
        figure=dots("masked-in", "masked-out", "inpainted"),
        notes=(
            "A picture is right where a classifier answers as on the clean one. Mean over them; each has a row, too.",
            f"References: {', '.join(REFERENCES)}.",
        ),
    )
)
