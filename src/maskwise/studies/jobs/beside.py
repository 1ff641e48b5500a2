"""What jobs share that ask something of an explainer which another job makes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from maskwise.studies.jobs.base import ExplainerJob, Job
from maskwise.studies.scale import Scale

J = TypeVar("J", bound="BesideJob")


@dataclass(frozen=True)
class BesideJob(Job):
    """About the explainer of another job, whose seed and network are its own.

    Attributes:
        of: the job that makes the explainer; what it trains is trained once for all cells of a run.
    """

    of: ExplainerJob

    @property
    def trains(self) -> bool:  # type: ignore[override]
        return self.of.trains

    @property
    def seed(self) -> int:  # type: ignore[override]
        return self.of.seed

    @property
    def network(self) -> str:  # type: ignore[override]
        return self.of.network

    def with_seed(self: J, seed: int) -> J:
        of = self.of.with_seed(seed)
        return self if of is self.of else replace(self, of=of)

    def packaged_maskers(self, scale: Scale) -> tuple[str | None, ...]:
        return self.of.packaged_maskers(scale)
