"""The papers' tables, rerun: grids of cells, the printed numbers beside ours, and a verdict on each claim."""

from importlib import import_module
from pkgutil import iter_modules

from maskwise.studies import grids
from maskwise.studies.run import Outcome, run_study
from maskwise.studies.scale import SCALES, Scale
from maskwise.studies.study import Column, Study, studies

for _module in iter_modules(grids.__path__):  # importing a file registers the studies in it
    import_module(f"{grids.__name__}.{_module.name}")

__all__ = ["SCALES", "Column", "Outcome", "Scale", "Study", "run_study", "studies"]
