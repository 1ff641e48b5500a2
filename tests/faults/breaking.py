"""A study with a cell whose process is killed from outside, the first time."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwise.studies.jobs import Explain
from maskwise.studies.jobs.base import Numbers
from maskwise.studies.study import Cell, Column, Study, studies

if TYPE_CHECKING:
    from maskwise.studies.room import Room


@dataclass(frozen=True)
class KilledOnce(Explain):
    def run(self, room: Room, study: Study, row: str, folder: Path) -> Numbers:
        tried = folder / "tried"
        if not tried.exists():
            folder.mkdir(parents=True, exist_ok=True)
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(room, study, row, folder)


STUDY = Study(
    "killed-once", "do the others go on?", None, (Column("area", "area", lower=None),),
    lambda scale: [Cell("a", Explain("uniform")), Cell("killed", KilledOnce("center")), Cell("b", Explain("center"))],
)  # fmt: skip
if "FAULTS_FORKED" in os.environ:  # the process that all others are forked from; the tests' own has no such study
    studies.register(STUDY.name, title=STUDY.title)(STUDY)
