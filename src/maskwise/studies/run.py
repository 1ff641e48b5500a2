"""Running a study: cells on disk are reused, the others are run, and one that fails does not stop the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.files import writable_folder
from maskwise.core.lock import locked
from maskwise.studies.cell_directory import CellDirectory, cell_directory, machine, run_cell
from maskwise.studies.claim import ClaimResult, judge
from maskwise.studies.estimate import Estimate, Number
from maskwise.studies.processes import run_in_processes
from maskwise.studies.published import printed
from maskwise.studies.run_config import RunConfig
from maskwise.studies.study import GridCell, Study
from maskwise.studies.table import ResultTable


@dataclass
class Outcome(ResultTable):
    """What a study found.

    Attributes:
        study, config: what was run, and on what.
        notes: by row, where this scale puts something in place of what the paper has.
        failures: by cell, why it is not there.
        not_run: rows of cells that were left out.
        parts_not_run: of rows that are there, the cells beside them that were left out.
        claim_results: on the claims.
        seconds: that all cells took, whenever they were run.
        made: cells done in this run.
    """

    study: Study
    config: RunConfig
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)
    parts_not_run: list[str] = field(default_factory=list)
    claim_results: list[ClaimResult] = field(default_factory=list)
    seconds: float = 0.0
    made: int = 0

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.study.columns]

    def protocol(self) -> dict[str, Any]:
        """Every setting behind the numbers, as plain data."""
        config = self.config
        return {
            "study": self.study.name, "scale": config.scale.name, "classifiers": dict(config.scale.classifiers),
            "train": config.identity(config.train) if config.train else [], "test": config.identity(config.test),
            "masked": config.identity(config.masked) if config.masked else [],
            "judges": list(config.judges), "limit": config.limit,
            "damaged": {source: list(names) for source, names in config.damaged.items()},
            "resize": self.study.resize, "target": self.study.target,
            "overrides": list(config.overrides), "precision": config.precision, "machine": machine(),
            "columns": {c.name: {"metric": c.metric, "options": c.options} for c in self.study.columns},
            "interval": f"95%: Student's over seeds, or {config.scale.resamples} bootstrap resamples over pictures",
        }  # fmt: skip


def grid_cells(study: Study, config: RunConfig, seeds: int, only: Sequence[str] = ()) -> list[tuple[GridCell, bool]]:
    """The cells of a study, one a seed, and whether they are to be done or ``only`` leaves them out.

    Raises:
        InputError: ``only`` names a row that there is not.
    """
    cells = study.cells(config.scale)
    unknown = [name for name in only if name not in {cell.row for cell in cells}]
    if unknown:
        raise InputError(f"{study.name} has no cell {unknown[0]!r}; it has {', '.join(c.row for c in cells)}")
    return [
        (replace(cell, job=cell.job.with_seed(seed)), not only or cell.row in only)
        for cell in cells
        for seed in range(seeds if cell.job.trains else 1)
    ]


def run_study(
    study: Study,
    config: RunConfig,
    out: Path,
    *,
    seeds: int | None = None,
    only: Sequence[str] = (),
    devices: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Outcome:
    """Runs what is missing of a study and puts the table together.

    Args:
        study: see ``studies``.
        config: scale, data and device.
        out: folder; cells lie below ``cells/``, what they train below ``trainings/``; a killed run goes on from there.
        seeds: trainings of each cell; None is the scale's.
        only: rows of the cells to run; of the others the table has what is on disk.
        devices: so many processes at once, each with a GPU of its own where there are any.
        progress: called with (done, total) cells.

    Raises:
        InputError: an unknown cell, a folder that can't be written or has a writer, or not one cell that could be run.
    """
    writable_folder(out)
    config = replace(config, trainings=out / "trainings")
    cells = grid_cells(study, config, seeds or config.scale.seeds, only)
    theirs = None if study.printed is None else printed(study.printed)
    outcome = Outcome(study, config, printed=theirs, labels=study.labels(config.scale), axes=study.axes())
    directories: list[CellDirectory] = []
    for cell, wanted in cells:
        try:
            directory = cell_directory(cell, config, study, out)
        except InputError as error:
            if wanted:
                outcome.failures[cell.name] = str(error)
            continue
        if wanted or directory.done:
            directories.append(directory)
    asked, there = {cell.row for cell, wanted in cells if wanted}, {directory.cell.row for directory in directories}
    parts = {directory.cell.name for directory in directories}
    left_out = list(dict.fromkeys((cell.row, cell.name) for cell, wanted in cells if not wanted))
    outcome.not_run = list(dict.fromkeys(row for row, _ in left_out if row not in there))
    outcome.parts_not_run = [name for row, name in left_out if row in there and name not in parts]
    with locked(out / "cells" / study.name, "run of this study"):
        waiting = [directory for directory in directories if not directory.done]
        if devices > 1:
            run_in_processes(waiting, config, study, devices, progress)
        else:
            for i, directory in enumerate(waiting, 1):
                run_cell(directory, config, study)
                if progress is not None:
                    progress(i, len(waiting))
    outcome.made = sum(directory.done for directory in waiting)
    _collect(outcome, directories)
    if not any(directory.done and directory.cell.row in asked for directory in directories):
        raise InputError(f"{study.name}: no cell could be run; {next(iter(outcome.failures.values()))}")
    outcome.claim_results = [judge(claim, outcome) for claim in study.claims]
    return outcome


def _collect(outcome: Outcome, directories: Sequence[CellDirectory]) -> None:
    """Numbers of all seeds of a row, side by side."""
    found: dict[tuple[str, str], list[tuple[int | None, Number]]] = {}
    for directory in directories:
        if not directory.done:
            which_one = f", seed {directory.facts['seed']}" if directory.cell.job.trains else ""
            outcome.failures[f"{directory.cell.name}{which_one}"] = (
                directory.error() or "its process ended and left no error"
            )
            continue
        numbers, seconds = directory.read()
        outcome.seconds += seconds
        for row, columns in numbers.items():
            if directory.cell.note:
                outcome.notes[row] = directory.cell.note
            for column, number in columns.items():
                seed = directory.cell.job.seed if directory.cell.job.trains else None
                found.setdefault((row, column), []).append((seed, number))
    for key, each in found.items():
        all_seeds = [number for _, number in each]
        # Of those that there are: one may have failed, and the same seeds are held against each other.
        which = [seed for seed, _ in each if seed is not None]
        width = min(len(n.draws) for n in all_seeds)
        draws = np.stack([n.draws[:width] for n in all_seeds])
        bounds, over = (all_seeds[0].bounds, all_seeds[0].over) if len(all_seeds) == 1 else (None, "pictures")
        whole = Estimate.of([n.value for n in all_seeds], draws, bounds, over, which or None)
        outcome.numbers[key] = whole if outcome.study.summary is None else outcome.study.summary(whole)
