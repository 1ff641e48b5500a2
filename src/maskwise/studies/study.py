"""A study: a grid of cells, what is measured in each, the printed table, and what the paper claims of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from maskwise.core.registry import Registry
from maskwise.evaluation.batch import Resize
from maskwise.evaluation.items import Target
from maskwise.studies.claim import Claim
from maskwise.studies.estimate import Estimate
from maskwise.studies.jobs.base import Job
from maskwise.studies.protocol import Column, EvaluationProtocol
from maskwise.studies.scale import Scale
from maskwise.studies.table import DrawFigure
from maskwise.training import recipes


@dataclass(frozen=True)
class GridCell:
    """One row of the grid, before seeds: what is done, and what is to be known about it.

    Attributes:
        row: of the table; a job may fill several; their names then begin with it.
        job: what is trained or explained.
        note: where this scale puts something in place of what the paper has.
        label: what the row is, where its name says too little; else the title of the recipe whose row has one letter.
        part: of the row's columns, which are this cell's, where several cells fill a row.
    """

    row: str
    job: Job
    note: str = ""
    label: str = ""
    part: str = ""

    @property
    def name(self) -> str:
        return f"{self.row}: {self.part}" if self.part else self.row

    def said(self) -> str:
        """The row with its label."""
        recipe = getattr(self.job, "recipe", None)
        label = self.label or (recipes.load(recipe).title if recipe and len(self.row) == 1 else "")
        return f"{self.row}: {label}" if label else self.row


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
        resize, target, batch: see ``EvaluationProtocol``.
        figure: draws the outcome.
        summary: of several seeds' numbers; the papers' few-shot table has medians.
        notes: what to know when reading it.
        against: rows from which the page has the difference of every other row.
    """

    name: str
    title: str
    printed: str | None
    columns: tuple[Column, ...]
    cells: Callable[[Scale], list[GridCell]]
    claims: tuple[Claim, ...] = ()
    resize: Resize = "crop"
    target: Target = "predicted"
    batch: int | None = None
    figure: DrawFigure | None = None
    summary: Callable[[Estimate], Estimate] | None = None
    notes: Sequence[str] = ()
    against: tuple[str, ...] = ()

    def labels(self, scale: Scale) -> dict[str, str]:
        """What each row is, by row."""
        return {cell.row: cell.said() for cell in self.cells(scale)}

    def axes(self) -> dict[str, str]:
        """What each column holds, by column."""
        return {column.name: column.axis() for column in self.columns}

    @property
    def protocol(self) -> EvaluationProtocol:
        return EvaluationProtocol(self.columns, self.resize, self.target, self.batch)


studies: Registry[Study] = Registry("study")


def register_study(study: Study) -> Study:
    """Files a study under its name."""
    return studies.register(study.name, title=study.title)(study)
