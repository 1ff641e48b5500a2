"""A judge that is used to holes: the classifier, trained on with pieces of its pictures missing."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from maskwise.checks.feeding import EpochBatches
from maskwise.checks.rows import Values, on
from maskwise.checks.small_training import SmallTraining
from maskwise.checks.subject import ProgressCallback, top_classes
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import in_range, one_of
from maskwise.measures.single_deletion import cell_numbers

MissingPart = Literal["pixels", "cell"]
JUDGE_TRAINING = SmallTraining(epochs=10, optimiser="sgd", lr=1e-3)


@dataclass(frozen=True)
class MissingPartBatches(EpochBatches):
    """As ``EpochBatches``, each picture with a hole of ``colour`` (3,1,1); see ``used_to_holes``."""

    colour: Tensor
    missing: MissingPart
    share: float
    cells: int

    def batches(
        self, first: int, end: int, rank: int = 0, world: int = 1
    ) -> Generator[tuple[Tensor, Tensor], None, None]:
        for images, labels in super().batches(first, end, rank, world):
            holes = missing_parts(len(images), images.shape[-2:], self.missing, self.share, self.cells, self.draws)
            yield torch.where(holes[:, None].to(images.device), self.colour, images), labels


def missing_parts(
    count: int, size: tuple[int, ...], missing: MissingPart, share: float, cells: int, draws: torch.Generator
) -> Tensor:
    """Holes (count,H,W) bool: of ``pixels`` each with chance ``share``, or every second time one ``cell`` of a grid."""
    if missing == "pixels":
        return torch.rand(count, *size, generator=draws) < share
    lost = torch.randint(cells**2, (count,), generator=draws)
    spared = torch.rand(count, generator=draws) < 0.5
    return cell_numbers(size[0], size[1], cells) == lost.masked_fill(spared, -1)[:, None, None]


def used_to_holes(
    classifier: Classifier,
    images: Values,
    *,
    missing: MissingPart = "pixels",
    share: float = 0.1,
    cells: int = 4,
    settings: SmallTraining | None = None,
    batch: int = 32,
    progress: ProgressCallback | None = None,
) -> Classifier:
    """Trains a copy of the classifier on pictures with holes, to say of them what the classifier says of whole ones.

    What it learns is the classifier's own top class of each whole picture, so that no labels are needed and the judge
    stays the one that is explained; the papers take true labels.

    Args:
        classifier: that is copied; it stays as it is.
        images: (N,3,S,S) uint8 or float in [0,1], at its input size.
        missing: ``pixels``, each with the chance ``share`` (F-Fidelity), or one ``cell`` of every second picture
            (IDSDS). Its mean colour stands there, which is zero in normalised pictures.
        share: of pixels.
        cells: a side.
        settings: of the training; None is ten epochs of SGD at 0.001.
        batch: pictures whose top class is asked for at once.
        progress: called with (done, total), in steps.

    Returns:
        The judge, frozen and in eval mode: ``metric("idsds", judge, target="class")`` and ``f_fidelity`` take it.

    Raises:
        InputError: fewer than two pictures, an option that makes no sense, or a loss that became NaN.
    """
    from maskwise.training.small_classifier import SmallRecipe, train_small_classifier  # heavy

    one_of("missing", missing, ("pixels", "cell"))
    in_range("share", share, 0, 1)
    in_range("cells", cells, 2)
    if len(images) < 2:
        raise InputError("a judge can't be trained on fewer than two pictures")
    settings, device = settings or JUDGE_TRAINING, classifier.device
    classes = top_classes(classifier, images, batch).to(device)
    draws = torch.Generator().manual_seed(settings.seed)
    batches = MissingPartBatches(
        on(images, device), classes, settings.batch_size, settings.augment, draws,
        classifier.mean[:, None, None], missing, share, cells,
    )  # fmt: skip
    recipe = SmallRecipe(**settings.model_dump(exclude={"augment", "until"}))
    return train_small_classifier(classifier, recipe, batches, progress=progress)[0]
