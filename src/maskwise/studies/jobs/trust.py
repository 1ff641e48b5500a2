"""How well a metric orders maps whose distance to the truth is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from maskwise.checks.pictures import pictures
from maskwise.core.correlation import concordance
from maskwise.evaluation.store import key_of
from maskwise.measures import Metric, metric
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import Job, JobCost, Numbers
from maskwise.studies.measure import bootstrapped
from maskwise.studies.mechanisms import KnownCase, KnownSettings, mechanisms
from maskwise.studies.mechanisms.ladder import closeness, maps_of
from maskwise.studies.protocol import EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale

if TYPE_CHECKING:
    from maskwise.classifiers import Classifier

KNOWN_SETTINGS = {
    "smoke": KnownSettings(side=20, pictures=2, train=16, epochs=1, rise_masks=10),
    "small": KnownSettings(side=32, pictures=24, train=1200, epochs=20, rise_masks=200),
    "full": KnownSettings(side=64, pictures=200, train=8000, epochs=40, rise_masks=2000),
}
MARGIN = 0.05  # maps whose closeness differs by less have no order that a metric could miss
ALL = "all"  # the column of the mean over mechanisms
BATCH = 64  # pictures are small


@dataclass(frozen=True)
class TrustJob(Job):
    """One metric with its options, on the maps of every mechanism."""

    metric: str
    options: dict[str, Any] = field(default_factory=dict)
    network: str = ""

    trains: ClassVar[bool] = False  # the networks that mechanisms train are part of the question, one for all metrics

    def facts(self, config: RunConfig) -> dict[str, Any]:
        settings = asdict(KNOWN_SETTINGS[config.scale.like])
        return {"metric": self.metric, "options": self.options, "known": settings, "mechanisms": mechanisms.names()}

    def cost(self, scale: Scale) -> JobCost:
        return JobCost()

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        settings, limit = KNOWN_SETTINGS[config.scale.like], config.limit
        grounds = _grounds(config, settings.side, limit)
        found = {
            name: self.on(_ordered(name, grounds, settings), config.scale.resamples) for name in mechanisms.names()
        }
        draws = np.mean([number.draws for number in found.values()], 0)
        found[ALL] = Number(float(np.mean([number.value for number in found.values()])), draws)
        return {row: found}

    def on(self, maps: OrderedMaps, resamples: int) -> Number:
        """Of pairs of maps that differ in closeness, those that the metric orders right less those that it reverses."""
        case, judge = maps.case, metric(self.metric, maps.case.classifier, **self.options, batch=BATCH)
        picture = torch.arange(len(case.images))
        scores = [bootstrapped(judge, _rows(judge, maps, name), picture, resamples) for name in maps.maps]
        sign = 1 if judge.higher_is_better else -1
        values = torch.tensor(np.stack([np.concatenate([[one.value], one.draws]) for one in scores], 1))
        known = torch.tensor(list(maps.close.values()), dtype=torch.float64)
        right = concordance(sign * values, known, MARGIN).numpy()
        return Number(float(right[0]), right[1:])


@dataclass(frozen=True, eq=False)
class OrderedMaps:
    """Maps of a case, and how close each is to the truth.

    Attributes:
        maps: (N,S,S) in [0,1], by name.
        close: see ``closeness``.
        rows: what has been measured on them, by metric and map: several metrics share their curves.
    """

    case: KnownCase
    maps: Mapping[str, Tensor]
    close: Mapping[str, float]
    rows: dict[tuple[str, str], Tensor] = field(default_factory=dict)


def _rows(judge: Metric, maps: OrderedMaps, name: str) -> Tensor:
    """(N,D) of the map called ``name``."""
    found = []
    for part in judge.parts() or [judge]:
        key = f"{type(part).__name__}:{key_of(part.protocol())}", name
        if key not in maps.rows:
            truth = {"images": maps.case.images, "labels": _classes(maps.case.classifier, maps.case.images)}
            asked = {need: truth[need] for need in part.needs}
            maps.rows[key] = part.per_image(maps.maps[name], **asked)
        found.append(maps.rows[key])
    return torch.cat(found, 1)


def _classes(classifier: Classifier, images: Tensor) -> Tensor:
    with torch.no_grad():
        return classifier.logits(classifier.prepare(images)).argmax(1)


def _grounds(config: RunConfig, side: int, limit: int | None) -> Tensor:
    found = pictures(config.sets(config.test), side, limit)
    return torch.cat([part.float() / 255 for part in found.split(64)])


_KEPT: dict[str, OrderedMaps] = {}


def _ordered(name: str, grounds: Tensor, settings: KnownSettings) -> OrderedMaps:
    """Made once for all metrics of a run: the same call gives the same maps, in another process, too."""
    key = key_of({"name": name, "settings": asdict(settings), "grounds": grounds.double().sum().item()})
    if key not in _KEPT:
        case = mechanisms.get(name)(grounds, settings)
        maps = maps_of(case, settings)
        _KEPT[key] = OrderedMaps(case, maps, closeness(maps, case.truth))
    return _KEPT[key]
