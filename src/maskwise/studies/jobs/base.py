"""What every job shares: who it is, what it costs, and how it is run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maskwise.studies.estimate import Number

if TYPE_CHECKING:
    from maskwise.studies.room import Room
    from maskwise.studies.scale import Scale
    from maskwise.studies.study import Study


Numbers = dict[str, dict[str, Number]]  # by row and column


@dataclass(frozen=True)
class Cost:
    """Before anything is run: ``steps`` of training, and ``maps`` of a picture (a window of SESS is one)."""

    steps: int = 0
    maps: int = 0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.steps + other.steps, self.maps + other.maps)


class Job(ABC):
    """What one cell does. Jobs are plain data, so that they can be told apart and sent to another process."""

    trains = False  # is it repeated with several seeds?

    @abstractmethod
    def facts(self, room: Room) -> dict[str, Any]:
        """All that decides its numbers, as plain data; raises ``InputError`` for what can't be run here."""

    @abstractmethod
    def cost(self, scale: Scale) -> Cost:
        """Of one seed."""

    def shared(self, scale: Scale) -> dict[str, int]:
        """Of the steps in ``cost``: by a name, those that are done once for all cells of a study that name them."""
        return {}

    @abstractmethod
    def run(self, room: Room, study: Study, row: str, folder: Path) -> Numbers:
        """Does it; ``folder`` keeps what a killed run goes on from."""
