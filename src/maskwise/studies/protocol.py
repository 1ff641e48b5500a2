"""How the cells of a study are measured: the columns of its table, and how pictures come to the classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maskwise.evaluation.batch import Resize
from maskwise.evaluation.items import Target
from maskwise.evaluation.measured import SECONDS
from maskwise.measures import metrics

__all__ = ["SECONDS", "Column", "EvaluationProtocol"]  # SECONDS: a column that is no metric


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: as the paper calls it.
        metric: by which it is measured; ``seconds`` is the time of a picture's map; None: the job fills it in.
        options: of the metric.
        times: the metric's value is multiplied by it.
        lower: is less better? None where neither is.
        title: what it is, where no metric says so.
        unit: likewise.
    """

    name: str
    metric: str | None
    options: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0
    lower: bool | None = True
    title: str = ""
    unit: str = ""

    def axis(self) -> str:
        """For a figure: what is measured, its unit, which way is better.

        Example:
            >>> Column("LE", "le").axis()
            'localisation error, %: lower is better'
        """
        title, unit = self.title or self.name, self.unit
        if self.metric == SECONDS:
            title, unit = self.title or "time of a picture's map", "seconds"
        elif self.metric is not None:
            facts = metrics.facts(self.metric)
            title, unit = self.title or str(facts["title"]), str(facts["unit"])
        if self.times == 100 and not unit:
            unit = "%"
        better = {True: ": lower is better", False: ": higher is better", None: ""}[self.lower]
        return f"{title}, {unit}{better}" if unit else f"{title}{better}"


@dataclass(frozen=True)
class EvaluationProtocol:
    """What all cells of a study are measured by.

    Attributes:
        columns: of the table.
        resize, target: how pictures come to the classifier, and the class explained (see ``evaluation.Settings``).
        batch: pictures explained at once; None is as many as the network takes well.
    """

    columns: tuple[Column, ...]
    resize: Resize = "crop"
    target: Target = "predicted"
    batch: int | None = None
