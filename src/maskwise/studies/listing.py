"""The studies, and the cells of one: what each costs, and how much of it is done in a folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from maskwise.studies.jobs.base import JobCost
from maskwise.studies.overview import rows_there, stored_study
from maskwise.studies.published import printed
from maskwise.studies.scale import Scale
from maskwise.studies.study import GridCell, Study

NOT_RUN = "not run"


def study_lines(found: Sequence[Study], size: Scale, folder: Path) -> list[dict[str, Any]]:
    """A line a study.

    Args:
        size: whose trainings are counted.
        folder: where studies are written; what lies there may be of another scale, which its state names.
    """
    lines = []
    for one in found:
        grid = _grid(one, size)
        total = sum((JobCost(n * cost.steps, n * cost.maps) for _, cost, n in grid), JobCost())
        shares = [(key, n * steps) for cell, _, n in grid for key, steps in cell.job.shared(size).items()]
        total += JobCost(sum(dict(shares).values()) - sum(steps for _, steps in shares))
        stored = stored_study(folder / f"{one.name}.json")
        lines.append({
            "study": one.name, "asks": one.title, "table": "" if one.printed is None else printed(one.printed).source,
            "claims": len(one.claims), "cells": sum(n for *_, n in grid), "training steps": total.steps,
            "maps": total.maps, "state": _state(stored), "minutes": _minutes(stored),
        })  # fmt: skip
    return lines


def cell_lines(study: Study, size: Scale, folder: Path) -> list[dict[str, Any]]:
    """A line a cell, whose seeds cost so many steps and maps together."""
    stored, grid = stored_study(folder / f"{study.name}.json"), _grid(study, size)
    return [
        {
            "cell": cell.name, "seeds": n, "training steps": n * cost.steps, "maps": n * cost.maps, "note": cell.note,
            "state": _cell_state(cell, stored, alone=len(grid) == 1),
        }
        for cell, cost, n in grid
    ]  # fmt: skip


def _grid(study: Study, size: Scale) -> list[tuple[GridCell, JobCost, int]]:
    return [(cell, cell.job.cost(size), size.seeds if cell.job.trains else 1) for cell in study.cells(size)]


def _state(stored: Mapping[str, Any] | None) -> str:
    return NOT_RUN if stored is None else f"{rows_there(stored)} rows, {stored['protocol']['scale']}"


def _minutes(stored: Mapping[str, Any] | None) -> float | None:
    """That all its cells took, whenever they were run."""
    return None if stored is None else round(float(stored["seconds"]) / 60, 1)


def _cell_state(cell: GridCell, stored: Mapping[str, Any] | None, alone: bool) -> str:
    """Of a job that fills several rows, whose names begin with its own; if it is alone they are all that there is."""
    if stored is None:
        return NOT_RUN
    if any(name.partition(", seed")[0] == cell.name for name in stored["failures"]):
        return "failed"
    rows = [r["here"] for r in stored["rows"] if alone or r["row"].startswith(cell.row)]
    there = [here for here in rows if cell.part in here] if cell.part else rows
    if not there:
        return NOT_RUN
    seeds = max(number["seeds"] for here in there for number in here.values())
    return "done" if seeds == 1 else f"done, {seeds} seeds"
