"""What every job shares: what it is, what it costs, and how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from maskwise.studies.estimate import Number
from maskwise.studies.protocol import Column, EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale

if TYPE_CHECKING:
    from maskwise.explainers import Explainer

Numbers = dict[str, dict[str, Number]]  # by row and column


@dataclass(frozen=True)
class JobCost:
    """Before anything is run: ``steps`` of training, and ``maps`` of a picture (a window of SESS is one)."""

    steps: int = 0
    maps: int = 0

    def __add__(self, other: JobCost) -> JobCost:
        return JobCost(self.steps + other.steps, self.maps + other.maps)


class Job(ABC):
    """What one cell does. Jobs are plain data, so that they can be told apart and sent to another process.

    Attributes:
        trains: does it draw anything from its seed? Then it is repeated with several.
        needs_judges: does it ask the judges of the run's configuration?
        seed: of all draws.
        network: which of the scale's classifiers is explained; empty where it is none of them.
    """

    trains: ClassVar[bool] = False
    needs_judges: ClassVar[bool] = False
    seed: int = 0
    network: str = "main"

    def with_seed(self, seed: int) -> Job:
        """The same job with another seed, for itself and for all that it trains; itself where it trains nothing."""
        return self

    def packaged_maskers(self, scale: Scale) -> tuple[str | None, ...]:
        """Of each masker that it uses, the name of the packaged one that it takes; None where it trains one."""
        return ()

    @abstractmethod
    def facts(self, config: RunConfig) -> dict[str, Any]:
        """All that decides its numbers, as plain data; raises ``InputError`` for what can't be run here."""

    def fills(self, columns: Sequence[Column]) -> Sequence[Column]:
        """Those of a study's columns that it may have numbers for: another one changes nothing for it."""
        return columns

    def on_masks(self) -> Sequence[str]:
        """Names of the columns that it measures on the run's pictures with masks, and not on its test pictures."""
        return ()

    @abstractmethod
    def cost(self, scale: Scale) -> JobCost:
        """Of one seed."""

    def shared(self, scale: Scale) -> dict[str, int]:
        """Of the steps in ``cost``: by a name, those that are done once for all cells of a study that name them."""
        return {}

    @abstractmethod
    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        """Numbers of the cell's rows.

        Args:
            config: scale, pictures and device.
            protocol: how pictures are measured.
            row: of the table.
            folder: keeps what a killed run goes on from.
        """


class ExplainerJob(Job):
    """A job about one explainer."""

    def fills(self, columns: Sequence[Column]) -> Sequence[Column]:
        return [column for column in columns if column.metric is not None]

    @abstractmethod
    def with_seed(self, seed: int) -> ExplainerJob: ...

    @abstractmethod
    def explainer(self, config: RunConfig) -> Explainer:
        """Trained here, where it is to be trained."""
