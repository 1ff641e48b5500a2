"""A classifier and a masker trained on some of the classes, measured on those and on the others (CASM, Table 3)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch

from maskwise.core.errors import InputError
from maskwise.core.plain_yaml import read_yaml
from maskwise.studies.estimate import Number
from maskwise.studies.jobs.base import JobCost, Numbers
from maskwise.studies.jobs.masker import Train, loaded
from maskwise.studies.measure import bootstrapped, groups_of, measured_rows
from maskwise.studies.protocol import Column, EvaluationProtocol
from maskwise.studies.run_config import RunConfig
from maskwise.studies.scale import Scale
from maskwise.training.classifier_recipe import ClassifierRecipe

if TYPE_CHECKING:
    from maskwise.explainers import Explainer


@dataclass(frozen=True)
class TrainOnSome(Train):
    """Trains f(0), then the masker from it, on ``share`` of the training data's classes; fills all, seen and unseen.

    The classes are drawn by the seed; a larger share holds the smaller ones. Classifier and masker have the same ones.
    """

    share: float = 1.0

    def retrains(self, scale: Scale) -> bool:
        """Is f(0) trained here? One of all classes that begins from nothing is the pretrained network itself."""
        return self.share < 1 or self.first(scale).start != "scratch"

    def first(self, scale: Scale, more: tuple[str, ...] = ()) -> ClassifierRecipe:
        """The recipe of f(0); of ``more``, those settings that it has."""
        own = [o for o in more if o.partition("=")[0].partition(".")[0].strip() in ClassifierRecipe.model_fields]
        made = loaded(scale.subset, (*scale.subsets, f"seed={self.seed}", *own))
        return cast(ClassifierRecipe, made.model_copy(update={"classifier": scale.classifiers["main"]}))

    def fills(self, columns: Sequence[Column]) -> Sequence[Column]:
        return columns  # seen and unseen classes have columns of their own

    def facts(self, config: RunConfig) -> dict[str, Any]:
        first = (
            self.first(config.scale, config.overrides).model_dump(mode="json") if self.retrains(config.scale) else None
        )
        return {**super().facts(config), "share": self.share, "first": first}

    def cost(self, scale: Scale) -> JobCost:
        """Both trainings; their epochs are shorter the fewer classes there are."""

        def steps(recipe: Any) -> int:
            batches = max(int(scale.pictures * self.share * recipe.fraction) // recipe.batch_size, 1)
            return int(recipe.total_steps(batches))

        classifier = steps(self.first(scale)) if self.retrains(scale) else 0
        return JobCost(classifier + steps(self.settings(scale)), super().cost(scale).maps)

    def masker_and_classes(self, config: RunConfig) -> tuple[Explainer, set[int]]:
        """The masker of the classifier that was trained first, and the classes that the two have seen.

        Raises:
            InputError: a training picture has no label.
        """
        from maskwise.explainers import explainer
        from maskwise.studies.trainings import shared_training

        labels = {r.label for data in config.sets(config.train) for r in data.records}
        if None in labels:
            raise InputError("training on some classes needs pictures with known classes")
        seen, classifier, some = cast("set[int]", labels), config.classifier("main"), tuple[str, ...]()
        if self.retrains(config.scale):
            few = (f"classes={max(round(self.share * len(labels)), 1)}",) if self.share < 1 else ()
            weights = shared_training(self.first(config.scale, (*config.overrides, *few)), config)
            classifier = config.retrained(weights)
            if few:
                seen = set(_classes(weights))
                some = (f"classes={sorted(seen)}",)  # named, so that the masker can have no others
        masker = shared_training(self.settings(config.scale, (*config.overrides, *some)), config, classifier)
        return explainer("casm", classifier, masker=masker), seen

    def run(self, config: RunConfig, protocol: EvaluationProtocol, row: str, folder: Path) -> Numbers:
        explainer, seen = self.masker_and_classes(config)
        measured = measured_rows(explainer, config, protocol, "main", folder)
        label = {r.id: r.label for data in config.sets(config.test) for r in data.records}
        keys = [key.rpartition("#")[0] for source in measured.pictures for key in measured.pictures[source]]
        known = torch.tensor([label[key] in seen for key in keys])
        found: dict[str, Number] = {}
        for column in protocol.columns:
            if column.metric is None:
                continue
            rows, judge = measured.rows("map", column.name), measured.metrics[column.name]
            for name, chosen in (("all", known | ~known), ("seen", known), ("unseen", ~known)):
                part = torch.where(chosen[:, None], rows, torch.nan)
                found[name] = bootstrapped(judge, part, groups_of(measured), config.scale.resamples)
        return {row: found}


def _classes(weights: Path) -> list[int]:
    """Which ones a training drew."""
    path = weights.with_name("recipe.yaml")
    return list(read_yaml(path.read_text(encoding="utf-8"), str(path))["classes"])
