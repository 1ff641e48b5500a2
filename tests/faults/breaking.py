"""A study with a cell whose process is killed from outside, the first time."""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from maskwise.studies.jobs import Explain
from maskwise.studies.jobs.base import Numbers
from maskwise.studies.protocol import Column, EvaluationProtocol
from maskwise.studies.study import GridCell, Study, studies

if TYPE_CHECKING:
    from maskwise.studies.run_config import RunConfig


@dataclass(frozen=True)
class KilledOnce(Explain):
    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        tried = folder / "tried"
        if not tried.exists():
            folder.mkdir(parents=True, exist_ok=True)
            tried.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().run(config, protocol, row, folder)


STUDY = Study(
    "killed-once", "do the others go on?", None, (Column("area", "area", lower=None),),
    lambda scale: [
        GridCell("a", Explain("uniform")), GridCell("killed", KilledOnce("center")), GridCell("b", Explain("center")),
    ],
)  # fmt: skip
if "FAULTS_FORKED" in os.environ:  # the process that all others are forked from; the tests' own has no such study
    studies.register(STUDY.name, title=STUDY.title)(STUDY)
