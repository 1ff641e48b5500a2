"""How the cells of a study are measured: the columns of its table, and how pictures come to the classifier."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from maskwise.evaluation.batch import Resize
from maskwise.evaluation.items import Target
from maskwise.evaluation.run import SECONDS

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
    """

    name: str
    metric: str | None
    options: dict[str, Any] = field(default_factory=dict)
    times: float = 1.0
    lower: bool | None = True


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
