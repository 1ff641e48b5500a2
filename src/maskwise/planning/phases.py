"""The steps of a training that are alike, each counted on a few pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.planning.counting import Count, counted
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.class_mask_recipe import ClassMaskRecipe
from maskwise.training.crops import PixelSize, sides
from maskwise.training.mask_recipe import Recipe
from maskwise.training.trainer import Trainer, trainers

if TYPE_CHECKING:
    from lightning.fabric import Fabric

SAMPLE = 2  # pictures of the step that is counted


@dataclass(frozen=True)
class Phase:
    """Steps that are alike.

    Attributes:
        name: which.
        steps: how many, in all.
        batch: pictures of each, over all processes.
        count: of one picture.
        settings: the recipe's, so that a trainer does only these.
        at: the step that the trainer stands at.
    """

    name: str
    steps: float
    batch: int
    settings: BaseRecipe
    at: int = 0
    count: Count | None = None


def phases_of(settings: BaseRecipe, steps: int) -> list[Phase]:
    """All steps of a training, those that cost the same together; nothing is counted yet."""
    if isinstance(settings, Recipe) and settings.thinning not in ("F", "L") and settings.p_history > 0:
        older = settings.p_history
        return [
            Phase("the newest judges", steps * (1 - older), settings.batch_size, _with(settings, p_history=0.0)),
            Phase("an older one judges", steps * older, settings.batch_size, _with(settings, p_history=1.0)),
        ]
    if isinstance(settings, ClassMaskRecipe):
        parts = [("selector", settings.selector_steps, 0), ("warm-up", settings.warm_up_steps, settings.selector_steps)]
        found = [Phase(name, n, settings.batch_size, settings, at) for name, n, at in parts if n]
        last = settings.masker_batch_size or settings.batch_size
        return [*found, Phase("mask", steps - settings.first_masks, last, settings, settings.first_masks)]
    return [Phase("all", steps, settings.batch_size, settings)]


def _with(settings: BaseRecipe, **changes: Any) -> BaseRecipe:
    return settings.model_copy(update=changes)


def trainer_of(settings: BaseRecipe, network: Classifier, fabric: Fabric) -> Trainer:
    """The recipe's own, for a training of one step."""
    return trainers.get(settings.kind)(network, settings, 1, fabric)


def counted_phase(phase: Phase, network: Classifier, fabric: Fabric, size: PixelSize) -> Phase:
    """Counted on a few pictures; a step's first one in the pool's presence."""
    trainer = trainer_of(phase.settings, network, fabric)
    trainer.steps = phase.at
    images, labels = noise(trainer, SAMPLE, size)
    live = getattr(trainer, "live", network)
    count = counted(lambda: trainer.step(images, labels), live.module).of_one(SAMPLE)
    return replace(phase, count=count)


def noise(trainer: Trainer, pictures: int, size: PixelSize) -> tuple[Tensor, Tensor]:
    """What a prepared loader would give a step: images with the maps that come along, and labels."""
    along = trainer.maps_along
    labels = torch.zeros((pictures, along) if along > 1 else pictures, dtype=torch.long)
    return torch.rand(pictures, trainer.classifier.channels + along, *sides(size)), labels
