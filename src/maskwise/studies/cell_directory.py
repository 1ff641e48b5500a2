"""A cell on disk: a folder of its own, and one file that says it is finished."""

from __future__ import annotations

import json
import math
import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import maskwise
from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.text import one_line
from maskwise.evaluation.store import key_of
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import Numbers
from maskwise.studies.run_config import RunConfig
from maskwise.studies.study import GridCell, Study

RESULT, ERROR = "result.json", "error.txt"


@dataclass(frozen=True)
class CellDirectory:
    """The folder of one cell with one seed.

    Attributes:
        folder: its name ends in the fingerprint of everything that decides the cell's numbers.
        facts: what the fingerprint is of.
    """

    cell: GridCell
    folder: Path
    facts: dict[str, Any]

    @property
    def done(self) -> bool:
        return (self.folder / RESULT).is_file()

    def write(self, numbers: Numbers, seconds: float) -> None:
        """The finished cell, whole or not at all."""
        rows = {
            row: {
                column: {
                    "value": _finite(n.value),
                    "bounds": n.bounds and [_finite(end) for end in n.bounds],
                    "over": n.over,
                    "draws": [_finite(d) for d in n.draws.tolist()],
                }
                for column, n in columns.items()
            }
            for row, columns in numbers.items()
        }
        found = {
            "row": self.cell.row, "facts": self.facts, "seconds": round(seconds, 1), "rows": rows,
            "versions": {"maskwise": maskwise.__version__, "torch": torch.__version__}, "machine": machine(),
        }  # fmt: skip
        with atomic_write(self.folder / RESULT) as temporary:
            temporary.write_text(json.dumps(found, default=str) + "\n", encoding="utf-8")
        (self.folder / ERROR).unlink(missing_ok=True)

    def fail(self, error: BaseException) -> None:
        """Says on disk why the cell is not there; the next run tries again."""
        with atomic_write(self.folder / ERROR) as temporary:
            temporary.write_text(f"{type(error).__name__}: {' '.join(str(error).split())}\n", encoding="utf-8")

    def error(self) -> str | None:
        path = self.folder / ERROR
        return path.read_text(encoding="utf-8").strip() if path.is_file() and not self.done else None

    def read(self) -> tuple[Numbers, float]:
        """Numbers and the seconds that they took.

        Raises:
            InputError: the file was damaged or changed.
        """
        path = self.folder / RESULT
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            numbers = {
                row: {
                    column: Number(
                        _nan(n["value"]),
                        np.array([_nan(d) for d in n["draws"]], dtype=np.float64),
                        n["bounds"] and tuple(map(_nan, n["bounds"])),
                        n.get("over", "pictures"),  # a cell of before it was noted
                    )
                    for column, n in columns.items()
                }
                for row, columns in found["rows"].items()
            }
            return numbers, float(found["seconds"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            said = f"{type(error).__name__}: {one_line(error, 100)}"
            raise InputError(f"{path}: is not the result of a cell ({said}); delete it, and it is run again") from None


def cell_directory(cell: GridCell, config: RunConfig, study: Study, out: Path) -> CellDirectory:
    """The cell's folder; a changed recipe, network, picture or metric is another folder.

    Raises:
        InputError: what the cell needs is not here.
    """
    facts = {
        "job": type(cell.job).__name__, **cell.job.facts(config), "seed": cell.job.seed,
        "scale": config.scale.name, "maskwise": maskwise.__version__, "limit": config.limit,
        "precision": config.precision,
        "test": config.identity(config.test),
        "fingerprint": {role: config.classifier(role).digest() for role in [cell.job.network] if role},
        "columns": [[c.name, c.metric, c.options, c.times] for c in cell.job.fills(study.columns)],
        "resize": study.resize, "target": study.target, "resamples": config.scale.resamples, "batch": study.batch,
    }  # fmt: skip
    name = "".join(c if c.isalnum() else "-" for c in cell.row).strip("-")
    return CellDirectory(cell, out / "cells" / study.name / f"{name}-{key_of(facts)}", facts)


def run_cell(directory: CellDirectory, config: RunConfig, study: Study) -> None:
    """One cell, start to finish; what goes wrong is written down beside it."""
    began, cell = time.monotonic(), directory.cell
    try:
        numbers = cell.job.run(config, study.protocol, cell.row, directory.folder)
        directory.write(numbers, time.monotonic() - began)
    except Exception as error:  # whatever it is, the other cells go on
        directory.fail(error)


def machine() -> str:
    """The kind of machine, without its name."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name(0)
    return f"{os.cpu_count()} CPU cores ({platform.machine()}), {torch.get_num_threads()} thread(s) a process"


def _finite(value: float) -> float | None:
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _nan(value: float | None) -> float:
    return math.nan if value is None else float(value)
