"""What the three checks find, as plain records."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any, Literal

from torch import Tensor

from maskwise.checks.intervals import MeanInterval

TRUE_LABELS, RANDOM_LABELS, TRUE_AGAIN = "true labels", "random labels", "true labels again"
WHOLE, RANDOM_REMOVAL = "none", "random removal"
RandomisationMode = Literal["cascading", "independent"]
MODES: tuple[RandomisationMode, ...] = ("cascading", "independent")


@dataclass(frozen=True)
class MprtRow:
    """How alike maps are to those of the trained network once a layer is random.

    Attributes:
        mode: ``cascading``: all layers above are random, too; ``independent``: only this one is.
        layer: its name.
        similarity: by name.
        value: mean over pictures.
    """

    mode: RandomisationMode
    layer: str
    similarity: str
    value: MeanInterval

    def plain(self) -> dict[str, Any]:
        return {"mode": self.mode, "layer": self.layer, "similarity": self.similarity, **self.value.plain()}


@dataclass(frozen=True, eq=False)
class MprtResult:
    """Everything the test found.

    Attributes:
        rows: one a mode, layer and similarity, layers from the output back to the input.
        layers: their names, in that order.
        examples: (E,3,H,W), some of the pictures.
        maps: by mode, (1+L,E,H,W): of the trained network, then of each stage.
        protocol: how the numbers came about.
    """

    rows: list[MprtRow]
    layers: list[str]
    examples: Tensor
    maps: dict[str, Tensor]
    protocol: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Rows and protocol as plain data."""
        return {"rows": [row.plain() for row in self.rows], "protocol": self.protocol}


@dataclass(frozen=True)
class DrtRow:
    """How alike two classifiers' maps are.

    Attributes:
        method: its name.
        against: ``random labels``, or ``true labels again``: what another training on the true labels does to the maps.
        similarity: by name.
        value: mean over pictures.
    """

    method: str
    against: str
    similarity: str
    value: MeanInterval

    def plain(self) -> dict[str, Any]:
        return {"method": self.method, "against": self.against, "similarity": self.similarity, **self.value.plain()}


@dataclass(frozen=True, eq=False)
class DrtResult:
    """Everything the test found.

    Attributes:
        rows: one a method, comparison and similarity.
        trainings: by labels: accuracy on the training pictures by the labels trained on and on the test pictures by the
            true ones, in percent, and epochs.
        examples: (E,3,h,w), some of the test pictures.
        maps: by method and labels, (E,h,w).
        protocol: how the numbers came about.
    """

    rows: list[DrtRow]
    trainings: dict[str, dict[str, float]]
    examples: Tensor
    maps: dict[str, dict[str, Tensor]]
    protocol: dict[str, Any]

    def plain(self) -> dict[str, Any]:
        """Rows, trainings and protocol as plain data."""
        return {"rows": [row.plain() for row in self.rows], "trainings": self.trainings, "protocol": self.protocol}


@dataclass(frozen=True)
class RoarRow:
    """Test accuracy of fresh networks after one removal, in percent, one value a repeat.

    Attributes:
        method: its name; ``random removal``, or ``none`` for the whole pictures.
        removed: percent of the pixels.
        top1: accuracies.
        top5: accuracies among the five likeliest classes.
        train_top1: on the training pictures, changed likewise.
    """

    method: str
    removed: float
    top1: tuple[float, ...]
    top5: tuple[float, ...]
    train_top1: tuple[float, ...]

    def plain(self) -> dict[str, Any]:
        facts: dict[str, Any] = {"method": self.method, "removed": self.removed}
        for name in ("top1", "top5", "train_top1"):
            values = getattr(self, name)
            facts |= {name: mean(values), f"{name}_std": stdev(values) if len(values) > 1 else None}
        return facts | {"top1_repeats": list(self.top1), "top5_repeats": list(self.top5)}


@dataclass(frozen=True)
class RoarResult:
    """Everything that was found.

    Attributes:
        rows: whole pictures, then random removal, then each method, by percent.
        classes: how many there are: 100 / classes is chance.
        protocol: how the numbers came about.
    """

    rows: list[RoarRow]
    classes: int
    protocol: dict[str, Any]

    def below_random(self) -> dict[str, float]:
        """By method: how far its top-1 lies below random removal, mean over all shares; above 0 it found something."""
        found: dict[str, list[float]] = {}
        chance = {row.removed: mean(row.top1) for row in self.rows if row.method == RANDOM_REMOVAL}
        for row in self.rows:
            if row.method not in (WHOLE, RANDOM_REMOVAL):
                found.setdefault(row.method, []).append(chance[row.removed] - mean(row.top1))
        return {method: mean(values) for method, values in found.items()}

    def plain(self) -> dict[str, Any]:
        """Rows, summary and protocol as plain data."""
        rows = [row.plain() for row in self.rows]
        return {"rows": rows, "below_random": self.below_random(), "classes": self.classes, "protocol": self.protocol}
