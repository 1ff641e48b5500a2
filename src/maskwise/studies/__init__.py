"""The papers' tables, rerun: grids of cells, the printed numbers beside ours, and a verdict on each claim.

This is the project's laboratory: the command ``maskwise study`` imports it when it is called, and nothing else does.
"""

from maskwise.studies import grids  # noqa: F401, its files register the studies
from maskwise.studies.protocol import Column
from maskwise.studies.run import Outcome, run_study
from maskwise.studies.scale import SCALES, Scale
from maskwise.studies.study import Study, studies

__all__ = ["SCALES", "Column", "Outcome", "Scale", "Study", "run_study", "studies"]
