"""Training a judge on pictures that have lost a part, so that holes are nothing new to it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from maskwise.checks.feeding import EpochBatches
from maskwise.checks.rows import Values, on
from maskwise.checks.small_training import SmallTraining
from maskwise.checks.subject import ProgressCallback
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError

Cut = Callable[[Tensor, torch.Generator], Tensor]  # whole pictures (B,3,S,S) to what is seen of them, by random numbers


@dataclass(frozen=True)
class HoledBatches:
    """``EpochBatches`` of which each picture has lost a random part.

    Attributes:
        whole: the pictures.
        cut: takes the part away.
        holes: where it lies comes from here.
    """

    whole: EpochBatches
    cut: Cut
    holes: torch.Generator

    @property
    def steps(self) -> int:
        return self.whole.steps

    def batches(
        self, first: int, end: int, rank: int = 0, world: int = 1
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        """Images (B,3,s,s) float in [0,1] and labels (B,) of so many steps."""
        for images, labels in self.whole.batches(first, end, rank, world):
            yield self.cut(images, self.holes), labels


def trained_on_holes(
    start: Classifier,
    images: Values,
    labels: Tensor,
    settings: SmallTraining,
    cut: Cut,
    progress: ProgressCallback | None = None,
) -> tuple[Classifier, int]:
    """A copy of ``start``, trained on, on its device, and how many epochs it was.

    Args:
        start: stays as it is.
        images: (N,3,S,S) uint8 or float in [0,1].
        labels: (N,) indices of its classes; of a network of findings (N,K) bool.
        settings: of the training.
        cut: what is seen of a batch.
        progress: called with (done, total), in steps.

    Raises:
        InputError: fewer than two pictures, a network without weights to train, or a loss that became NaN.
    """
    from maskwise.training.small_classifier import SmallRecipe, train_small_classifier  # heavy

    if len(images) < 2:
        raise InputError("a judge can't be trained on fewer than two pictures")
    if not any(weight.is_floating_point() for weight in start.module.parameters()):  # a black box, or quantised
        raise InputError(f"{start.name} shows no weights that could be trained: no judge can be made of it")
    draws, holes = (torch.Generator().manual_seed(2 * settings.seed + k) for k in range(2))
    device = start.device
    whole = EpochBatches(on(images, device), labels.to(device), settings.batch_size, settings.augment, draws)
    recipe = SmallRecipe(**settings.model_dump(exclude={"augment", "until"}))
    return train_small_classifier(start, recipe, HoledBatches(whole, cut, holes), progress=progress)
