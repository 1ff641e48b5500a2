"""The leak check of a row's explainer: does the shape of its masks give the class away?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from maskwise.checks import Labelled, leak, robust_judge
from maskwise.checks.pictures import classified
from maskwise.checks.robust_judge import SETTINGS
from maskwise.checks.small_training import Trained
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.lock import locked
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import JobCost, Numbers
from maskwise.studies.jobs.beside import BesideJob
from maskwise.studies.protocol import Column, EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale
from maskwise.training.subset import subset

LEAK_COLUMN = Column(
    "leak", None, lower=None, title="gap of the leak check, the smaller one of both controls", unit="points"
)


@dataclass(frozen=True)
class JudgeSettings:
    """How the robust judge is trained at a scale.

    Attributes:
        epochs: of its training.
        size: longer side in pixels of what it sees; None is the classifier's.
        per_class: at most so many pictures of each class, or a few large classes are most of what it sees.
    """

    epochs: int
    size: int | None
    per_class: int | None


JUDGES = {
    "smoke": JudgeSettings(1, None, 4),
    "small": JudgeSettings(8, 144, 60),
    "full": JudgeSettings(8, None, None),
}


@dataclass(frozen=True)
class Leak(BesideJob):
    """``check leak`` with holes of the mean colour, without its probe; the robust judge is one for all rows of a run.

    It is trained on those of the run's training pictures whose label the classifier knows.
    """

    def fills(self, columns: Sequence[Column]) -> Sequence[Column]:
        return [LEAK_COLUMN]

    def facts(self, config: RunConfig) -> dict[str, Any]:
        return {
            "of": self.of.facts(config), "judge": asdict(JUDGES[config.scale.like]),
            "train": config.identity(config.train),
        }  # fmt: skip

    def cost(self, scale: Scale) -> JobCost:
        """Of the explainer's maps; the judge has its steps of its own."""
        settings = SETTINGS.model_copy(update={"epochs": JUDGES[scale.like].epochs})
        return JobCost(settings.epochs * max(scale.pictures // settings.batch_size, 1), self.of.cost(scale).maps)

    def shared(self, scale: Scale) -> dict[str, int]:
        return {"robust judge": self.cost(scale).steps}

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        explainer, classifier = self.of.explainer(config), config.classifier(self.network)
        judge = self._judge(config)
        test = classified(config.sets(config.test), classifier, config.limit)
        found = leak(
            {row: explainer}, classifier, judge.classifier, test, probe=None, seed=self.seed, batch=classifier.batch
        )
        gap = found.summaries[0].gap
        return {row: {LEAK_COLUMN.name: Number(100 * gap.mean, bounds=(100 * gap.low, 100 * gap.high))}}

    def _judge(self, config: RunConfig) -> Trained:
        """Trained by the first cell that asks for it."""
        own, folder = JUDGES[config.scale.like], config.trainings / "robust-judges"
        settings = SETTINGS.model_copy(update={"epochs": own.epochs, "seed": self.seed})
        classifier = config.classifier(self.network)
        seen = training_pictures(config, classifier, own.per_class, self.seed)
        with locked(folder, "robust judge of this study", wait=True):
            return robust_judge(classifier, seen, settings, size=own.size, folder=folder, device=config.device)


def training_pictures(config: RunConfig, classifier: Classifier, per_class: int | None, seed: int) -> Labelled:
    """The run's training pictures whose label the classifier knows, at most ``per_class`` of each.

    Raises:
        InputError: there is none.
    """
    sets = config.sets(config.train)
    known = [
        (number, place, record.label)
        for number, data in enumerate(sets)
        for place, record in enumerate(data.records)
        if record.label is not None and 0 <= record.label < len(classifier.labels)
    ]
    if not known:
        raise InputError(f"leak: no training picture has a label that {classifier.name} knows")
    kept = {known[i][:2] for i in subset([{label} for *_, label in known], None, per_class, seed)[0]}
    chosen = [data.subset([i for i in range(len(data)) if (k, i) in kept]) for k, data in enumerate(sets)]
    return classified([data for data in chosen if len(data)], classifier)
