"""PxAP beside a row's other columns: it wants masks of objects, which ImageNet's pictures do not have."""

from __future__ import annotations

from collections.abc import Sequence

from maskwise.studies.jobs import OnMasks
from maskwise.studies.jobs.base import ExplainerJob
from maskwise.studies.protocol import Column
from maskwise.studies.study import GridCell

PXAP = Column("PxAP", None, lower=False, title="pixel average precision", unit="%")


def with_pxap(rows: Sequence[GridCell]) -> list[GridCell]:
    """The rows, and for each a cell that measures PxAP of the same explainer on the pictures with masks."""
    beside = []
    for cell in rows:
        assert isinstance(cell.job, ExplainerJob)
        beside.append(GridCell(cell.row, OnMasks(cell.job, ((PXAP.name, "pxap"),)), part=PXAP.name))
    return [*rows, *beside]
