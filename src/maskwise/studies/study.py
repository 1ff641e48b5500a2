"""A study: a grid of cells, what is measured in each, the printed table, and what the paper claims of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwise.core.registry import Registry
from maskwise.evaluation.batch import Resize
from maskwise.evaluation.items import Target
from maskwise.evaluation.run import SECONDS
from maskwise.studies.claim import Claim
from maskwise.studies.estimate import Estimate
from maskwise.studies.jobs.base import Job
from maskwise.studies.scale import Scale

if TYPE_CHECKING:
    from maskwise.studies.run import Outcome


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as the paper calls it.
        metric: by which it is measured; ``seconds`` is the time of a picture's map; None: the job fills it in.
        options: of the metric.
        times: the metric's value is multiplied by it.
        lower: is less better? None where neither is.
    """

    name: str
    metric: str | None
    options: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0
    lower: bool | None = True


@dataclass(frozen=True)
class Cell:
    """One row of the grid, before seeds: what is done, and what is to be known about it.

    Attributes:
        row: of the table; a job may fill several, whose names then begin with it.
        job: what is trained or explained.
        note: where this scale puts something in place of what the paper has.
    """

    row: str
    job: Job
    note: str = ""


@dataclass(frozen=True)
class Study:
    """One table of a paper.

    Attributes:
        name: on the command line.
        title: what it asks.
        printed: name of the packaged table (see ``published``); None where there is none.
        columns: what is measured.
        cells: the grid at a scale.
        claims: of the paper.
        resize, target: how pictures come to the classifier, and the class explained (see ``Settings``).
        batch: pictures explained at once; None is as many as the network takes well.
        figure: draws the outcome into a PNG.
        summary: of several seeds' numbers; the papers' few-shot table has medians.
        notes: what to know when reading it.
    """

    name: str
    title: str
    printed: str | None
    columns: tuple[Column, ...]
    cells: Callable[[Scale], list[Cell]]
    claims: tuple[Claim, ...] = ()
    resize: Resize = "crop"
    target: Target = "predicted"
    batch: int | None = None
    figure: Callable[[Outcome, Path], None] | None = None
    summary: Callable[[Estimate], Estimate] | None = None
    notes: Sequence[str] = ()


__all__ = ["SECONDS", "Cell", "Column", "Study", "register", "studies"]  # SECONDS: a column that is no metric

studies: Registry[Study] = Registry("study")


def register(study: Study) -> Study:
    """Files a study under its name."""
    return studies.register(study.name, title=study.title)(study)
