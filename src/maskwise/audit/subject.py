"""What is audited, and all rows of its pictures."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from maskwise.audit.finding import Interval
from maskwise.audit.finding_data import FindingTruth
from maskwise.audit.limits import Limits
from maskwise.audit.rows import (
    Agreement,
    Answers,
    Beside,
    Elsewhere,
    Features,
    LogOdds,
    MaskedAnswers,
    Objects,
    SmallMaps,
    object_cover,
)
from maskwise.audit.wilson import share_of
from maskwise.checks.pictures import grouped_pictures
from maskwise.checks.rows import Values
from maskwise.checks.subject import top_classes
from maskwise.classifiers import Classifier
from maskwise.classifiers.one_finding import THERE, OneFinding, findings_listed
from maskwise.core.bootstrap import Average, Statistic, interval
from maskwise.core.connected import of_rows
from maskwise.core.errors import InputError
from maskwise.core.text import utf8
from maskwise.data import DataSet, Sample, read_data
from maskwise.evaluation import Contender, Settings
from maskwise.evaluation.batch import fitted
from maskwise.evaluation.items import Target
from maskwise.evaluation.measured import Measured
from maskwise.evaluation.run import measure
from maskwise.measures.base import Metric
from maskwise.sess.sweep import AnyExplainer

Told = Callable[[int, int], None]
PARTS = 2  # what kept parts are made of: those of another number are made anew


@dataclass(frozen=True)
class AuditPlan:
    """How pictures are asked, the same for every checkpoint.

    Attributes:
        limit: only so many pictures of each data set, evenly spread.
        limits: bounds of the criteria.
        fill: the infiller of hidden objects and backgrounds.
        seed: of every draw.
        batch: pictures at once.
        skip_damaged: pass over pictures that can't be read.
        progress: called with (done, total) pictures.
    """

    limit: int | None = None
    limits: Limits = field(default_factory=Limits)
    fill: str = "telea"
    seed: int = 0
    batch: int = 8
    skip_damaged: bool = False
    progress: Told | None = None


@dataclass
class Audited:
    """A classifier, an explainer of it, and what was measured of each picture.

    Attributes:
        classifier: with one class a picture (softmax), or of one finding.
        explainer: whose maps are read.
        method: its name.
        sets: the pictures.
        measured: rows by data set and question.
        plan: how they were measured.
        out: where pictures go.
    """

    classifier: Classifier
    explainer: AnyExplainer
    method: str
    sets: Sequence[DataSet]
    measured: Measured
    plan: AuditPlan
    out: Path

    def __len__(self) -> int:
        return sum(map(len, self.measured.pictures.values()))

    def rows(self, question: str) -> Tensor:
        """(N,D) of all pictures, in one order for every question; a row of NaN is a picture it says nothing of."""
        return torch.cat([self.measured.statistics[source, self.method, question] for source in self.measured.pictures])

    @cached_property
    def top(self) -> Tensor:
        """(N,) int64, the class that is predicted."""
        return self.rows("answers")[:, 0].long()

    @cached_property
    def labels(self) -> Tensor:
        """(N,) int64, -1 where it is unknown."""
        return self.rows("answers")[:, 2].long()

    @cached_property
    def right(self) -> Tensor:
        """(N,) bool."""
        return self.top == self.labels

    @property
    def finding(self) -> str | None:
        """Name of the finding that is asked about; None where a class is said of each picture."""
        return self.classifier.labels.name(THERE) if isinstance(self.classifier, OneFinding) else None

    @cached_property
    def shown(self) -> Tensor:
        """(N,) bool, pictures whose evidence is asked for: all; of a finding those that show it, by their label, and
        where they have none those that are said to."""
        if self.finding is None:
            return torch.ones_like(self.labelled)
        return torch.where(self.labelled, self.labels, self.top) == THERE

    @cached_property
    def absent(self) -> Tensor:
        """(N,) bool, pictures that don't show the finding: by their label, or where none has one by what is said."""
        return (self.labels if self.labelled.any() else self.top) == 1 - THERE

    def examples(self, count: int) -> tuple[Values, Tensor | None]:
        """(n,C,h,w) uint8, so many pictures of each data set, evenly spread, of those that ``shown`` says; and the
        number of each one's subject, where those are known."""
        return self.drawn(self.sets if self.finding is None else self._shown_sets(), count)

    def drawn(self, sets: Sequence[DataSet], count: int) -> tuple[Values, Tensor | None]:
        """As ``examples``, of these data sets."""
        return grouped_pictures(sets, self.classifier.size, self.at_most(count), skip_damaged=True)

    def classes_asked(self, images: Tensor) -> Tensor:
        """(n,) int64, the class of each picture (n,C,h,w) whose map is asked for."""
        if self.finding is not None:
            return torch.full((len(images),), THERE)
        return top_classes(self.classifier, images, 8)

    def _shown_sets(self) -> list[DataSet]:
        found, place = [], 0
        for data, keys in zip(self.sets, self.measured.pictures.values(), strict=True):
            own = [key.rpartition("#")[0] for i, key in enumerate(keys) if self.shown[place + i]]
            place += len(keys)
            if own:
                found.append(data.subset(self._places(data)[name] for name in own))
        return found

    def at_most(self, count: int) -> int:
        """So many pictures of each data set, or fewer where the whole audit has fewer."""
        return count if self.plan.limit is None else min(count, self.plan.limit)

    @property
    def labelled(self) -> Tensor:
        """(N,) bool."""
        return self.labels >= 0

    def name(self, label: int) -> str:
        return self.classifier.labels.name(label)

    def picture(self, place: int) -> tuple[str, Sample]:
        """Name and picture of a row, as the classifier gets it."""
        for data, (_source, keys) in zip(self.sets, self.measured.pictures.items(), strict=True):
            if place < len(keys):
                own = keys[place].rpartition("#")[0]
                return own, fitted(data[self._places(data)[own]], self.classifier, "squash")
            place -= len(keys)
        raise IndexError(place)

    def object_of(self, place: int) -> tuple[Sample, Tensor]:
        """The picture of a row, and the pixels (H,W) bool that are its object, as its box or mask says."""
        own = self.picture(place)[1]
        boxes = own.boxes if own.category is None else own.boxes_of(own.category)
        mask = None if own.mask is None else own.mask[None]
        return own, object_cover(torch.zeros(1, own.height, own.width), [boxes], mask)[0] > 0.5

    def _places(self, data: DataSet) -> dict[str, int]:
        known: dict[int, dict[str, int]] = self.__dict__.setdefault("_by_name", {})
        if id(data) not in known:
            known[id(data)] = {utf8(record.id): i for i, record in enumerate(data.records)}
        return known[id(data)]

    def pictures_digest(self) -> str:
        """Tells these pictures from others: of their keys, which hold checksums of the pixels."""
        text = "\n".join(key for keys in self.measured.pictures.values() for key in keys)
        return f"{zlib.crc32(text.encode()):08x}"

    @cached_property
    def groups(self) -> Tensor | None:
        """(N,) int64, pictures of one subject have one number; None where each picture is by itself."""
        return self.measured.groups(list(self.measured.pictures))

    def groups_of(self, rows: Tensor) -> Tensor | None:
        """The same of some rows: (N,) bool or (n,) int64 places."""
        return of_rows(self.groups, rows)

    def estimate(self, values: Tensor, statistic: Statistic | None = None, of: Tensor | None = None) -> Interval:
        """Mean over pictures of values (n,), or another statistic of rows (n,D), with its bootstrap interval.

        Args:
            of: (N,) bool or (n,) int64 places, the rows that they are of; None is all.
        """
        return estimated(values, statistic, self.plan.seed, self.groups if of is None else self.groups_of(of))

    def share(self, right: Tensor, of: Tensor | None = None) -> Interval:
        """The share of pictures that are right, (n,) bool, with Wilson's interval; ``of`` as in ``estimate``."""
        return share_of(right, self.groups if of is None else self.groups_of(of))


class Ratio:
    """The sum of the first number a picture over that of the second."""

    def value(self, total: Tensor, count: Tensor) -> Tensor:
        return total[..., 0] / total[..., 1]


def estimated(
    values: Tensor, statistic: Statistic | None = None, seed: int = 0, groups: Tensor | None = None
) -> Interval:
    """As ``Audited.estimate``, of rows whose ``groups`` (n,) are drawn together; rows with NaN are left out."""
    rows = (values[:, None] if values.ndim == 1 else values).double()
    known = ~rows.isnan().any(1)
    rows, groups = rows[known], of_rows(groups, known)
    if not len(rows):
        return Interval(torch.nan, torch.nan, torch.nan, 0)
    statistic = statistic or Average()
    low, high = interval(statistic, rows, seed=seed, groups=groups)
    value = float(statistic.value(rows.sum(0), torch.tensor(float(len(rows)), dtype=torch.float64)))
    return Interval(value, low, high, len(rows), None if groups is None else len(groups.unique()))


def collect(
    classifier: Classifier,
    explainer: AnyExplainer,
    method: str,
    data: Sequence[str | DataSet],
    out: Path,
    plan: AuditPlan | None = None,
) -> Audited:
    """Asks everything of each picture that is asked of each; rows that ``out`` has already are taken from there.

    Raises:
        InputError: a classifier that is none to be audited (see ``question_of``), or what reading and explaining raise.
    """
    question_of(classifier)
    plan = plan or AuditPlan()
    sets = [source if isinstance(source, DataSet) else read_data(source) for source in data]
    target: Target = "predicted"
    if isinstance(classifier, OneFinding):
        target = THERE
        sets = [one if isinstance(one, FindingTruth) else FindingTruth.of(one, classifier) for one in sets]
    questions: dict[str, Metric] = {
        "answers": Answers(), "maps": SmallMaps(), "features": Features(classifier), "kept": MaskedAnswers(classifier),
        "objects": Objects(classifier, plan.fill), "elsewhere": Elsewhere(),
        "beside": Beside(),
    }  # fmt: skip
    if isinstance(classifier, OneFinding):
        questions["log_odds"] = LogOdds()
    if method != "grad_cam":
        with suppress(InputError):  # a network without a layer to read: then nothing is said of it
            questions["agreement"] = Agreement(classifier)
    settings = Settings("squash", target, plan.limit, plan.batch, skip_damaged=plan.skip_damaged)
    contender = Contender.of(method, explainer)
    measured = measure([contender], classifier, sets, questions, settings, out, progress=plan.progress)
    return Audited(classifier, explainer, method, sets, measured, plan, out)


def question_of(classifier: Classifier, finding: int | str | None = None) -> Classifier:
    """The classifier that is audited: the one given, or of a network of findings the one that is asked about.

    Raises:
        InputError: a network that neither names one of several classes nor has findings; of findings none is named, or
            one that it does not have.
    """
    if isinstance(classifier, OneFinding) and finding is None:
        return classifier
    if classifier.is_paired or (classifier.gives_findings and finding is not None):
        return OneFinding(classifier, finding)
    if classifier.gives_findings:
        raise InputError(
            f"{classifier.name} has several findings (sigmoid outputs), and an audit is of one: name it with "
            f"`finding`, one of {findings_listed(classifier)}"
        )
    if classifier.activation != "softmax" or len(classifier.labels) < 2:
        has = "one class" if len(classifier.labels) < 2 else "outputs of another kind (activation none)"
        raise InputError(
            "audit is of networks that name one of several classes (softmax) or have findings (sigmoid), and "
            f"{classifier.name} has {has}: measure its maps with compare, class by class (`target=each`)"
        )
    if finding is not None:
        raise InputError(
            f"{classifier.name} says one class of each picture (softmax), and an audit asks about all of them: leave "
            "`finding` out"
        )
    return classifier


def plain_identity(audited: Audited) -> dict[str, Any]:
    """Who was audited: what a kept part belongs to."""
    return {
        "parts": PARTS,
        "classifier": audited.classifier.digest(),
        "size": list(audited.classifier.size),
        "classes": list(audited.classifier.labels.names),
        "explainer": Contender.of(audited.method, audited.explainer).identity,
        "pictures": audited.pictures_digest(),
        "seed": audited.plan.seed,
        **({} if audited.groups is None else {"subjects": zlib.crc32(audited.groups.numpy().tobytes())}),
    }
