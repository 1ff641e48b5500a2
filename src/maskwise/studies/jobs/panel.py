"""Other classifiers on what masks keep and leave (CASM, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.evaluation import Contender
from maskwise.evaluation.panel import CONDITIONS, PanelSettings, classifier_panel
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import Job, JobCost, Numbers
from maskwise.studies.jobs.masker import Train
from maskwise.studies.measure import bootstrapped
from maskwise.studies.protocol import EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale

COLUMNS = dict(zip(CONDITIONS, ("masked-in", "masked-out", "inpainted"), strict=True))


@dataclass(frozen=True)
class PanelJob(Job):
    """Accuracy of the judges with each masker and with reference masks: a row a mask, and one a masker and judge.

    One job for all of them, since the reference masks cost as much as the maskers'. A picture is right where a judge
    answers as on the clean one: its own errors say nothing of masks.

    Attributes:
        maskers: by row.
        seed: of all trainings.
    """

    maskers: tuple[tuple[str, Train], ...]
    seed: int = 0

    trains: ClassVar[bool] = True
    needs_judges: ClassVar[bool] = True

    def with_seed(self, seed: int) -> PanelJob:
        return replace(self, seed=seed, maskers=tuple((row, masker.with_seed(seed)) for row, masker in self.maskers))

    def packaged_maskers(self, scale: Scale) -> tuple[str | None, ...]:
        return tuple(name for _, masker in self.maskers for name in masker.packaged_maskers(scale))

    def facts(self, config: RunConfig) -> dict[str, Any]:
        judges = {name: config.judge(name).digest() for name in config.judges}
        return {"judges": judges, "maskers": {row: masker.facts(config) for row, masker in self.maskers}}

    def cost(self, scale: Scale) -> JobCost:
        return sum((masker.cost(scale) for _, masker in self.maskers), JobCost())

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        if not config.judges:
            raise InputError("a panel needs classifiers that judge: name some as `judges`")
        contenders = [Contender.of(name, masker.explainer(config)) for name, masker in self.maskers]
        judges = {name: config.judge(name) for name in config.judges}
        settings = PanelSettings(resize="crop", truth="clean", limit=config.limit)
        panel = classifier_panel(contenders, config.classifier(), judges, config.sets(config.test), settings)
        found: Numbers = {}
        for name, right in zip(panel.masks, 100 * panel.right.double(), strict=True):  # (judges, conditions, N)
            found[name] = _numbers(right.mean(0), config)
            if name in dict(self.maskers) and len(judges) > 1:
                found |= {f"{name} / {j}": _numbers(r, config) for j, r in zip(panel.classifiers, right, strict=True)}
        return found


def _numbers(right: Tensor, config: RunConfig) -> dict[str, Number]:
    """By column, of (conditions, N)."""
    pictures = torch.arange(right.shape[-1])
    return {
        COLUMNS[condition]: bootstrapped(None, values[:, None], pictures, config.scale.resamples)
        for condition, values in zip(CONDITIONS, right, strict=True)
    }
