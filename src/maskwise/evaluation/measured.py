"""The rows of a comparison: what each picture contributes to each metric of each method."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import torch
from torch import Tensor

from maskwise.core.bootstrap import FEWEST_DRAWN
from maskwise.core.connected import connected
from maskwise.core.text import first_few, how_many, utf8
from maskwise.data import DataSet
from maskwise.data.class_order import mixed_numbers
from maskwise.data.subjects import subjects_by_name
from maskwise.evaluation.contender import Contender
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.loader import Settings
from maskwise.evaluation.processes import stacked
from maskwise.explainers.doubts import doubts, line_of
from maskwise.measures import Metric

SECONDS, MEGABYTES = "seconds", "megabytes"  # filed beside the metrics: of a map, and peak of its batch
WARNING = {kind: f"warning {kind}" for kind in doubts.names()}  # and 1 where a map is doubted
MEASURED = SECONDS, MEGABYTES, *WARNING.values()


@dataclass
class Measured:
    """The rows of one comparison.

    Attributes:
        classifier: its name.
        metrics: by name.
        settings: of the run.
        pictures: keys of each data set's pictures, or of their classes where each is explained, in order.
        statistics: (N,D) by data set, contender and metric; ``seconds`` and ``megabytes`` (N,1) are among them, and
            for each kind of doubt a ``warning`` (N,1), 1 where the map is doubted and NaN where it is not.
        seen: how many maps were made in this run, by contender; the others came from disk.
        damaged: by data set, the pictures that were passed over, and what is wrong with each.
        foreign: contenders whose explainer is of another classifier.
        sets: the data sets, without pictures that a folder of maps has no map of.
        left_out: by data set, how many pictures those were, and whose maps they lack.
        size: height and width in pixels that the classifier takes.
        other_order: by data set, why its labels may be other classes than the classifier's.
    """

    classifier: str
    metrics: Mapping[str, Metric]
    settings: Settings
    contenders: Sequence[Contender]
    pictures: dict[str, list[str]] = field(default_factory=dict)
    statistics: dict[tuple[str, str, str], Tensor] = field(default_factory=dict)
    seen: dict[str, int] = field(default_factory=dict)
    damaged: dict[str, dict[str, str]] = field(default_factory=dict)
    foreign: list[str] = field(default_factory=list)
    sets: list[DataSet] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    size: tuple[int, int] = (0, 0)
    other_order: dict[str, str] = field(default_factory=dict)

    def rows(self, contender: str, metric: str, sources: Sequence[str] | None = None) -> Tensor:
        """(N,D), what each picture of these data sets, or of all, contributes; those that know nothing are NaN."""
        return stacked([self.statistics[source, contender, metric] for source in sources or self.pictures])

    def groups(self, sources: Sequence[str]) -> Tensor | None:
        """(N,) int64, rows of these data sets that are not independent have one number: those of one picture, and those
        of pictures of one subject; None where each row stands alone.

        Two data sets have a picture in common where its name, its pixels and its truth are the same, and a subject
        where its name is.
        """
        first: dict[str, tuple[str, str]] = {}
        names: list[list[Hashable]] = []
        for source in sources:
            whose = self._subjects.get(source, {})
            for key in self.pictures[source]:
                own = key.rpartition("#")[0]
                names.append([first.setdefault(key, (source, own)), *([whose[own]] if own in whose else [])])
        if len({one for own in names for one in own}) == sum(map(len, names)):  # none has a name of another's
            return None
        found = connected(names)
        return found if int(found.max()) + 1 < len(found) else None

    @cached_property
    def _subjects(self) -> dict[str, Mapping[str, str]]:
        """By data set, of each picture that has one, by name."""
        sets = zip(self.pictures, self.sets, strict=False)
        return {source: {utf8(name): one for name, one in subjects_by_name(data).items()} for source, data in sets}

    @property
    def drawn(self) -> str:
        """What is drawn for an interval: ``pictures``, or ``subjects`` where there are any."""
        return "subjects" if any(self._subjects.values()) else "pictures"

    def subjects_in_words(self) -> list[str]:
        """Of each data set whose pictures have subjects, how many those are."""
        found = []
        for source, whose in self._subjects.items():
            names = {key.rpartition("#")[0] for key in self.pictures[source]}
            if whose and names:
                count = len({whose.get(name, (name,)) for name in names})
                found.append(
                    f"Subjects: the {how_many(len(names), 'picture')} of {source} are of {how_many(count, 'subject')}; "
                    "those of one are not independent, so intervals draw them together."
                )
        return found

    def _too_few(self) -> list[str]:
        """A line where there are few pictures, or many of few subjects."""
        found = self.groups(list(self.pictures))
        count = sum(map(len, self.pictures.values())) if found is None else len(found.unique())
        if count >= FEWEST_DRAWN or not count:
            return []
        few = f"of {how_many(count, 'picture')} only"
        if self.drawn == "subjects":
            few = f"all pictures are of {how_many(count, 'subject')}"
        return [f"{few}: intervals over fewer than {FEWEST_DRAWN} are too narrow to trust"]

    def _mixed_classes(self) -> list[str]:
        """Metrics that are means over classes, where a number is not one class."""
        over = [name for name, metric in self.metrics.items() if "categories" in metric.takes]
        line = mixed_numbers(self.sets) if over else None
        return [] if line is None else [f"{', '.join(over)}: {line}"]

    def _several_times(self) -> list[str]:
        """A line where pictures are in several data sets, or in one more than once, as its splits may share some."""
        counts = Counter(key for keys in self.pictures.values() for key in keys)
        repeated = [key for key, count in counts.items() if count > 1]
        if not repeated:
            return []
        what = "case" if self.settings.target == "each" else "picture"
        named = first_few([key.rpartition("#")[0] for key in repeated])
        return [
            f"given more than once: {len(repeated):,} of {how_many(len(counts), what)} ({named}), counted each time in "
            "the value of all data; intervals draw them together"
        ]

    def warnings(self, among: Tensor | None = None) -> list[str]:
        """Why maps may be wrong: a line for each contender and kind, with the number of maps, old ones included.

        Args:
            among: (N,) bool of all pictures, whose maps alone count; None is all.
        """
        lines = [f"{source}: {text}" for source, text in self.left_out.items()]
        lines += [f"{source}: {text}" for source, text in self.other_order.items()]
        lines += self._several_times() + self._too_few() + self._mixed_classes() + self._too_tolerant()
        for contender in self.contenders:
            if isinstance(contender.explainer, GivenMaps):
                lines += contender.explainer.doubts(contender.name)
            for kind, key in WARNING.items():
                found = [self.statistics[source, contender.name, key][:, 0] for source in self.pictures]
                doubted = torch.cat(found) == 1
                if kind == "other_classifier" and contender.name in self.foreign:
                    doubted[:] = True
                doubted = doubted if among is None else doubted[among]
                if doubted.any():
                    lines.append(line_of(kind, contender.name, self.classifier, doubted))
        return lines

    def _too_tolerant(self) -> list[str]:
        """Metrics that call a hit what lies within some pixels, of pictures that have hardly more."""
        side = min(self.size)
        wide = {name: getattr(metric, "tolerance", None) or 0 for name, metric in self.metrics.items()}
        return [
            f"{name}: a hit is whatever lies within {tolerance:g} pixels of the object, which is most of a picture of "
            f"{self.size[1]}x{self.size[0]} pixels: set {name}.tolerance={max(round(tolerance * side / 224), 1)}, the "
            "same share of it as of 224"
            for name, tolerance in wide.items()
            if self.settings.resize != "none" and 4 * tolerance > side > 0
        ]
