"""Other classifiers on what masks keep and leave (CASM, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.evaluation import Contender
from maskwise.evaluation.panel import CONDITIONS, PanelSettings, classifier_panel
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import Cost, Job, Numbers
from maskwise.studies.jobs.masker import Train
from maskwise.studies.measure import drawn

if TYPE_CHECKING:
    from maskwise.studies.room import Room
    from maskwise.studies.scale import Scale
    from maskwise.studies.study import Study

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

    trains = True

    def facts(self, room: Room) -> dict[str, Any]:
        judges = {name: room.judge(name).fingerprint() for name in room.judges}
        return {"judges": judges, "maskers": {row: masker.facts(room) for row, masker in self.maskers}}

    def cost(self, scale: Scale) -> Cost:
        return sum((masker.cost(scale) for _, masker in self.maskers), Cost())

    def run(self, room: Room, study: Study, row: str, folder: Path) -> Numbers:
        if not room.judges:
            raise InputError("a panel needs classifiers that judge: add --judges")
        contenders = [Contender.of(name, masker.trained(room)) for name, masker in self.maskers]
        judges = {name: room.judge(name) for name in room.judges}
        settings = PanelSettings(resize="crop", truth="clean", limit=room.limit)
        panel = classifier_panel(contenders, room.classifier(), judges, room.sets(room.test), settings)
        found: Numbers = {}
        for name, right in zip(panel.masks, 100 * panel.right.double(), strict=True):  # (judges, conditions, N)
            found[name] = _numbers(right.mean(0), room)
            if name in dict(self.maskers) and len(judges) > 1:
                found |= {f"{name} / {j}": _numbers(r, room) for j, r in zip(panel.classifiers, right, strict=True)}
        return found


def _numbers(right: Tensor, room: Room) -> dict[str, Number]:
    """By column, of (conditions, N)."""
    pictures = torch.arange(right.shape[-1])
    return {
        COLUMNS[condition]: drawn(None, values[:, None], pictures, room.scale.resamples)
        for condition, values in zip(CONDITIONS, right, strict=True)
    }
