"""Training a small classifier on pictures that are at hand, with nothing left on disk: what the sanity checks need."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import nn

from maskwise.classifiers import Classifier
from maskwise.core.signals import Interrupted
from maskwise.training.callbacks import Callback, Callbacks, TrainingState
from maskwise.training.classifier_recipe import ClassifierRecipe, Start
from maskwise.training.classifier_training import ClassifierTrainer
from maskwise.training.distributed.alone import alone
from maskwise.training.distributed.processes import Silence
from maskwise.training.guard import Guard
from maskwise.training.loop import Batches, Rhythm, run_steps


class SmallRecipe(ClassifierRecipe):
    """It goes on from the network's own fresh weights; the rate rises over a tenth of all steps, and falls."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    start: Start = "pretrained"

    def learning_rate_factor(self, step: int, steps_per_epoch: int) -> float:
        return rise_and_fall(step, self.total_steps(steps_per_epoch))


def rise_and_fall(step: int, total: int) -> float:
    """Factor of the learning rate in step 0…total: linear over the first tenth, then half a cosine down to 0.

    torch's ``OneCycleLR`` is another schedule (its rise is a cosine, too), and fails where a tenth is one step.
    """
    rise = total / 10
    if step + 1 < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * min((step + 1 - rise) / (total + 1 - rise), 1)))


class SmallTrainer(ClassifierTrainer):
    """The trainer of classifiers, with either optimizer."""

    recipe: SmallRecipe
    memory_format: ClassVar[torch.memory_format] = torch.preserve_format

    def optimizer(self, weights: list[nn.Parameter]) -> torch.optim.Optimizer:
        if self.recipe.optimiser == "adamw":
            return torch.optim.AdamW(weights, self.recipe.lr, weight_decay=self.recipe.weight_decay)
        return super().optimizer(weights)


class _EndsAfterAnEpoch(Callback):
    """Ends a training after the first epoch after which its classifier is good enough."""

    def __init__(self, trainer: SmallTrainer, good_enough: Callable[[Classifier], bool]) -> None:
        self.trainer, self.good_enough = trainer, good_enough

    def on_step(self, state: TrainingState) -> None:
        epoch, left = divmod(state.step, self.trainer.steps_per_epoch)
        if not left and self.good_enough(self.trainer.live):
            state.end(f"the classifier is good enough after epoch {epoch}")


def train_small_classifier(
    classifier: Classifier,
    recipe: SmallRecipe,
    batches: Batches,
    *,
    good_enough: Callable[[Classifier], bool] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Classifier, int]:
    """Trains a copy of a classifier, on its device and in one process.

    Args:
        classifier: with fresh weights.
        recipe: how.
        batches: of pictures (B,3,S,S) in [0,1] and labels (B,), on the classifier's device.
        good_enough: asked after each epoch; where it says yes, the training ends.
        progress: called with (done, total), in steps.

    Returns:
        The trained copy, frozen and in eval mode, and how many epochs it took.

    Raises:
        InputError: the loss or a weight became NaN.
    """
    trainer = SmallTrainer(classifier, recipe, batches.steps, alone(classifier.device))
    state = TrainingState(trainer, Path(), recipe.total_steps(batches.steps))
    done = count(1)

    def advance(_: str) -> None:
        if progress is not None:
            progress(next(done), state.total)

    watching = Callbacks([] if good_enough is None else [_EndsAfterAnEpoch(trainer, good_enough)])
    run_steps(Guard(trainer, None), batches, state, Silence(), None, watching, Rhythm(), advance)
    if state.interrupted:
        raise Interrupted(number=state.interrupted)
    trainer.live.eval().module.requires_grad_(False)
    return trainer.live, trainer.steps // batches.steps
