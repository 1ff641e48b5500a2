"""A few columns of a row, measured on other pictures than the rest: on those whose objects have masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from maskwise.studies.jobs.base import JobCost, Numbers
from maskwise.studies.jobs.beside import BesideJob
from maskwise.studies.measure import measured_numbers
from maskwise.studies.protocol import Column, EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale


@dataclass(frozen=True)
class OnMasks(BesideJob):
    """Measures on the run's pictures with masks; where none were named, on its test pictures.

    Attributes:
        metrics: by column of the study, one that jobs fill in.
    """

    metrics: tuple[tuple[str, str], ...]

    def fills(self, columns: Sequence[Column]) -> Sequence[Column]:
        return [Column(name, metric) for name, metric in self.metrics]

    def on_masks(self) -> Sequence[str]:
        return [name for name, _ in self.metrics]

    def facts(self, config: RunConfig) -> dict[str, Any]:
        return {"of": self.of.facts(config), "masked": config.identity(config.masked or config.test)}

    def cost(self, scale: Scale) -> JobCost:
        return JobCost(maps=self.of.cost(scale).maps)

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        there = replace(config, test=config.masked or config.test)
        asked = replace(protocol, columns=tuple(self.fills(protocol.columns)))
        return {row: measured_numbers(self.of.explainer(config), there, asked, self.network, folder)}
