"""A masker trained on some of the classes, measured on those and on the others (CASM, Table 3)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from maskwise.errors import InputError
from maskwise.plain_yaml import read_yaml
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import Numbers
from maskwise.studies.jobs.masker import Train
from maskwise.studies.measure import drawn, measured_rows, pictures_of, rows_of

if TYPE_CHECKING:
    from maskwise.studies.room import Room
    from maskwise.studies.study import Study


@dataclass(frozen=True)
class TrainOnSome(Train):
    """Trains on ``share`` of the training data's classes; fills the columns all, seen and unseen.

    The classes are drawn by the seed; a larger share holds the smaller ones.
    """

    share: float = 1.0

    def facts(self, room: Room) -> dict[str, Any]:
        return {**super().facts(room), "share": self.share}

    def run(self, room: Room, study: Study, row: str, folder: Path) -> Numbers:
        labels = {r.label for data in room.sets(room.train) for r in data.records}
        if None in labels:
            raise InputError("training on some classes needs pictures whose class is known")
        count = max(round(self.share * len(labels)), 1)
        some = (f"classes={count}",) if self.share < 1 else ()
        explainer = self.trained(room, some)
        measured = measured_rows(explainer, room, study, "main", folder)
        seen = labels if self.share == 1 else set(_classes(self.weights(room, some)))
        label = {r.id: r.label for data in room.sets(room.test) for r in data.records}
        keys = [key.rpartition("#")[0] for source in measured.pictures for key in measured.pictures[source]]
        known = torch.tensor([label[key] in seen for key in keys])
        found: dict[str, Number] = {}
        for column in study.columns:
            if column.metric is None:
                continue
            rows, judge = rows_of(measured, column.name), measured.metrics[column.name]
            for name, chosen in (("all", known | ~known), ("seen", known), ("unseen", ~known)):
                part = torch.where(chosen[:, None], rows, torch.nan)
                found[name] = drawn(judge, part, pictures_of(measured), room.scale.resamples)
        return {row: found}


def _classes(weights: Path) -> list[int]:
    """Which ones a training drew."""
    path = weights.with_name("recipe.yaml")
    return list(read_yaml(path.read_text(encoding="utf-8"), str(path))["classes"])
