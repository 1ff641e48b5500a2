"""Other classifiers on what a mask keeps and leaves (CASM, Fig. 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maskwise.errors import InputError
from maskwise.evaluation import Contender
from maskwise.evaluation.panel import CONDITIONS, REFERENCES, PanelSettings, classifier_panel
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
    """Mean accuracy of the room's judges; with ``masker`` None, of the reference masks, a row each.

    A picture is right where a judge answers as on the clean picture, since a judge's own errors say nothing of masks.
    """

    masker: Train | None = None
    seed: int = 0

    @property
    def trains(self) -> bool:  # type: ignore[override]
        return self.masker is not None

    def facts(self, room: Room) -> dict[str, Any]:
        judges = {name: room.judge(name).fingerprint() for name in room.judges}
        return {"judges": judges, "masker": None if self.masker is None else self.masker.facts(room)}

    def cost(self, scale: Scale) -> Cost:
        return Cost(maps=scale.limit or 50_000) if self.masker is None else self.masker.cost(scale)

    def run(self, room: Room, study: Study, row: str, folder: Path) -> Numbers:
        if not room.judges:
            raise InputError("a panel needs classifiers that judge: add --judges")
        contenders = [] if self.masker is None else [Contender.of(row, self.masker.trained(room, folder))]
        judges = {name: room.judge(name) for name in room.judges}
        settings = PanelSettings(resize="crop", truth="clean", limit=room.limit)
        panel = classifier_panel(contenders, room.classifier(), judges, room.sets(room.test), settings)
        wanted = list(REFERENCES) if self.masker is None else [row]
        found: Numbers = {}
        for mask in wanted:
            right = 100 * panel.right[panel.masks.index(mask)].double()  # (judges, conditions, N)
            pictures = torch.arange(right.shape[-1])
            found[mask] = {
                COLUMNS[condition]: drawn(None, right[:, i].mean(0)[:, None], pictures, room.scale.resamples)
                for i, condition in enumerate(CONDITIONS)
            }
            if self.masker is not None:
                for j, judge in enumerate(panel.classifiers):
                    found[f"{row} / {judge}"] = {
                        COLUMNS[condition]: drawn(None, right[j, i][:, None], pictures, room.scale.resamples)
                        for i, condition in enumerate(CONDITIONS)
                    }
        return found
