"""Running a study: cells on disk are taken as they are, the others are done, and one that fails stops nobody."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.files import writable_folder
from maskwise.core.lock import locked
from maskwise.studies.claim import Finding, judge
from maskwise.studies.estimate import Estimate, Number
from maskwise.studies.jobs import CheckJob, PanelJob
from maskwise.studies.published import Printed, printed
from maskwise.studies.room import Room
from maskwise.studies.store import Place, machine, place_of
from maskwise.studies.study import Cell, Study

Progress = Callable[[int, int], None]


@dataclass
class Outcome:
    """What a study found.

    Attributes:
        study, room: what was run, and on what.
        numbers: by row and column, over all seeds that are there.
        notes: by row, where this scale puts something in place of what the paper has.
        failures: by cell, why it is not there.
        not_run: rows of cells that were left out.
        findings: on the claims.
        seconds: that all cells took, whenever they were run.
        made: cells done in this run.
    """

    study: Study
    room: Room
    numbers: dict[tuple[str, str], Estimate] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    not_run: list[str] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    seconds: float = 0.0
    made: int = 0

    def __getitem__(self, place: tuple[str, str]) -> Estimate:
        try:
            return self.numbers[place]
        except KeyError:
            raise KeyError(" / ".join(place)) from None

    @property
    def rows(self) -> list[str]:
        return list(dict.fromkeys(row for row, _ in self.numbers))

    @property
    def columns(self) -> list[str]:
        return [column.name for column in self.study.columns]

    @property
    def printed(self) -> Printed | None:
        return None if self.study.printed is None else printed(self.study.printed)

    def protocol(self) -> dict[str, Any]:
        """Every setting behind the numbers, as plain data."""
        room = self.room
        return {
            "study": self.study.name, "scale": room.scale.name, "classifiers": dict(room.scale.classifiers),
            "train": room.identity(room.train) if room.train else [], "test": room.identity(room.test),
            "judges": list(room.judges), "limit": room.limit, "resize": self.study.resize, "target": self.study.target,
            "overrides": list(room.overrides), "precision": room.precision, "machine": machine(),
            "columns": {c.name: {"metric": c.metric, "options": c.options} for c in self.study.columns},
            "interval": f"95%: Student's over seeds, or {room.scale.resamples} bootstrap resamples over pictures",
        }  # fmt: skip


def grid(study: Study, room: Room, seeds: int, only: Sequence[str] = ()) -> list[tuple[Cell, bool]]:
    """The cells of a study, one a seed, and whether they are to be done or ``only`` leaves them out.

    Raises:
        InputError: ``only`` names a row that there is not.
    """
    cells = study.cells(room.scale)
    unknown = [name for name in only if name not in {cell.row for cell in cells}]
    if unknown:
        raise InputError(f"{study.name} has no cell {unknown[0]!r}; it has {', '.join(c.row for c in cells)}")
    return [
        (_seeded(cell, seed), not only or cell.row in only)
        for cell in cells
        for seed in range(seeds if cell.job.trains else 1)
    ]


def _seeded(cell: Cell, seed: int) -> Cell:
    """The cell with another seed, and so with its masker's."""
    job: Any = cell.job
    if not job.trains:
        return cell
    changed: dict[str, Any] = {"seed": seed}
    if isinstance(job, CheckJob):
        changed["masker"] = replace(job.masker, seed=seed)
    if isinstance(job, PanelJob):
        changed["maskers"] = tuple((name, replace(masker, seed=seed)) for name, masker in job.maskers)
    return replace(cell, job=replace(job, **changed))


def do(place: Place, room: Room, study: Study) -> None:
    """One cell, start to finish; what goes wrong is written down beside it."""
    began = time.monotonic()
    try:
        place.write(place.cell.job.run(room, study, place.cell.row, place.folder), time.monotonic() - began)
    except Exception as error:  # whatever it is, the other cells go on
        place.fail(error)


def run_study(
    study: Study,
    room: Room,
    out: Path,
    *,
    seeds: int | None = None,
    only: Sequence[str] = (),
    devices: int = 1,
    progress: Progress | None = None,
) -> Outcome:
    """Runs what is missing of a study and puts the table together.

    Args:
        study: see ``studies``.
        room: scale, data and device.
        out: folder; cells lie below ``cells/``, what they train below ``trainings/``; a killed run goes on from there.
        seeds: trainings of each cell; None is the scale's.
        only: rows of the cells to run; of the others the table has what is on disk.
        devices: so many processes at once, each with a GPU of its own where there are any.
        progress: called with (done, total) cells.

    Raises:
        InputError: an unknown cell, a folder that can't be written or has a writer, or not one cell that could be run.
    """
    writable_folder(out)
    room = replace(room, trainings=out / "trainings")
    cells = grid(study, room, seeds or room.scale.seeds, only)
    outcome = Outcome(study, room)
    places: list[Place] = []
    for cell, wanted in cells:
        try:
            place = place_of(cell, room, study, out)
        except InputError as error:
            if wanted:
                outcome.failures[cell.row] = str(error)
            continue
        if wanted or place.done:
            places.append(place)
    asked, there = {cell.row for cell, wanted in cells if wanted}, {place.cell.row for place in places}
    outcome.not_run = list(dict.fromkeys(cell.row for cell, wanted in cells if not wanted and cell.row not in there))
    with locked(out / "cells" / study.name, "run of this study"):
        waiting = [place for place in places if not place.done]
        if devices > 1:
            from maskwise.studies.processes import spread

            spread(waiting, room, study, devices, progress)
        else:
            for i, place in enumerate(waiting, 1):
                do(place, room, study)
                if progress is not None:
                    progress(i, len(waiting))
    outcome.made = sum(place.done for place in waiting)
    _collect(outcome, places)
    if not any(place.done and place.cell.row in asked for place in places):
        raise InputError(f"{study.name}: no cell could be run; {next(iter(outcome.failures.values()))}")
    outcome.findings = [judge(claim, outcome) for claim in study.claims]
    return outcome


def _collect(outcome: Outcome, places: Sequence[Place]) -> None:
    """Numbers of all seeds of a row, side by side."""
    found: dict[tuple[str, str], list[Number]] = {}
    for place in places:
        if not place.done:
            seed = f", seed {place.facts['seed']}" if place.cell.job.trains else ""
            outcome.failures[f"{place.cell.row}{seed}"] = place.error() or "its process ended without a word"
            continue
        numbers, seconds = place.read()
        outcome.seconds += seconds
        for row, columns in numbers.items():
            if place.cell.note:
                outcome.notes[row] = place.cell.note
            for column, number in columns.items():
                found.setdefault((row, column), []).append(number)
    for place_in_table, all_seeds in found.items():
        width = min(len(n.draws) for n in all_seeds)
        draws = np.stack([n.draws[:width] for n in all_seeds])
        bounds = all_seeds[0].bounds if len(all_seeds) == 1 else None
        whole = Estimate.of([n.value for n in all_seeds], draws, bounds)
        outcome.numbers[place_in_table] = whole if outcome.study.summary is None else outcome.study.summary(whole)
