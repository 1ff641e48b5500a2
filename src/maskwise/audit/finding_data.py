"""A data set as one finding sees it: which pictures show it, which don't, and where it is."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property

from torch import Tensor

from maskwise.classifiers.one_finding import THERE, OneFinding
from maskwise.core.errors import InputError
from maskwise.data import DataSet, Record, Sample
from maskwise.data.sample import no_boxes
from maskwise.evaluation.items import class_among
from maskwise.labels import unknown_label


@dataclass(frozen=True, eq=False)
class FindingTruth(DataSet):
    """Pictures of another data set, labelled 1 where they show a finding, 0 where they don't, else not at all; with
    its boxes and masks alone.

    What tells of a picture is the first of these that there is: what ``findings.csv`` says of the finding; the classes
    of its boxes or of its class map; its label; its folder. The data set's own classes tell by their names, and only
    where the finding is among them. A picture without a box says nothing by having none. One label is taken for all
    that a picture shows.

    Attributes:
        source: the other data set.
        asked: the finding.
    """

    _: KW_ONLY
    source: DataSet
    asked: OneFinding

    @classmethod
    def of(cls, source: DataSet, asked: OneFinding) -> FindingTruth:
        """Of a data set as it was read."""
        found = cls(source.name, source.records, asked.labels.names, source=source, asked=asked)
        records = [replace(r, label=found._by_record(r), category=None, box_classes=None) for r in source.records]
        return replace(found, records=records)

    def image(self, record: Record) -> Tensor:
        return self.source.image(self._own[record.id])

    def group(self, record: Record) -> int | None:
        return self.source.group(self._own[record.id])

    def sample(self, record: Record) -> Sample:
        own = self._own[record.id]
        sample = self.source.sample(own)
        regions = sample.regions() if sample.box_classes is not None or sample.class_map is not None else {}
        said = self.source.shows(own, self.asked.finding, self.asked.source)
        if said is None and regions and self._own_class is not None:
            said = self._own_class in regions
        there = self._by_record(own) if said is None else int(said)
        bare = replace(
            sample, label=there, category=None, box_classes=None, box_masks=None, class_map=None, difficult=None
        )
        nowhere = replace(bare, boxes=no_boxes(), mask=None)
        if there == 0:
            return nowhere
        if sample.box_classes is None and sample.class_map is None:
            return bare
        pixels = None if self._own_class is None else regions.get(self._own_class)
        if pixels is None:
            return nowhere
        exact = sample.box_masks is not None or sample.box_classes is None
        boxes = no_boxes() if sample.box_classes is None else sample.boxes_of(self._own_class or 0)
        return replace(bare, boxes=boxes, mask=pixels if exact else None)

    @cached_property
    def _own(self) -> dict[str, Record]:
        return {record.id: record for record in self.source.records}

    @cached_property
    def _own_class(self) -> int | None:
        """The data set's class that is the finding; None where it has none such."""
        return next((own for own in range(len(self.source.classes or ())) if self._is_asked(own)), None)

    def _is_asked(self, own: int) -> bool:
        try:
            return class_among(own, self.source, self.asked.source) == self.asked.finding
        except InputError:
            return False

    def _by_record(self, own: Record) -> int | None:
        """What the listing tells."""
        said = self.source.shows(own, self.asked.finding, self.asked.source)
        if said is not None:
            return int(said)
        if own.box_classes and self._own_class is not None:
            return int(self._own_class in own.box_classes)
        if own.label is not None:
            return self._of_label(own)
        if own.category is not None and self._own_class is not None:
            return int(own.category == self._own_class)
        return None

    def _of_label(self, own: Record) -> int:
        known = len(self.asked.source)
        assert own.label is not None
        if not 0 <= own.label < known:
            raise unknown_label(own.id, own.label, self.asked.name, known)
        return int(own.label == self.asked.finding) if not self.asked.is_only else int(own.label == THERE)
