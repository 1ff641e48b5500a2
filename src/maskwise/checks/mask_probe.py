"""What the outlines alone say: a small network that sees masks, and never a picture."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.checks.networks import network_maker
from maskwise.checks.pictures import Labelled
from maskwise.checks.small_training import SmallTraining, train_classifier
from maskwise.checks.subject import top_classes
from maskwise.core.errors import InputError

SIDE, FOLDS = 56, 3
PROBE = SmallTraining(epochs=8)


def folds_of(labels: Tensor, folds: int = FOLDS, seed: int = 0, groups: Tensor | None = None) -> Tensor:
    """(N,) in 0…folds-1: each class (N,) is spread over all folds, as evenly as it goes.

    Args:
        groups: (N,) int64: pictures of one number, as of one patient, are in one fold; None is each by itself.

    Raises:
        InputError: a class with fewer pictures, or groups of them, than there are folds.
    """
    counts = labels.unique(return_counts=True)[1]
    if int(counts.min()) < folds:
        raise InputError(f"a probe of masks needs {folds} pictures of every class, and one has {int(counts.min())}")
    draws = torch.Generator().manual_seed(seed)
    if groups is not None:
        return _folds_of_groups(labels.unique(return_inverse=True)[1], groups, folds, draws)
    found = torch.empty_like(labels)
    for label in labels.unique().tolist():
        members = (labels == label).nonzero()[:, 0]
        found[members[torch.randperm(len(members), generator=draws)]] = torch.arange(len(members)) % folds
    return found


def _folds_of_groups(labels: Tensor, groups: Tensor, folds: int, draws: torch.Generator) -> Tensor:
    """One group after another goes where there are fewest pictures of its classes, labels (N,) in 0…K-1."""
    count, found = torch.zeros(folds, int(labels.max()) + 1), torch.empty_like(labels)
    _, place = groups.unique(return_inverse=True)
    for group in torch.randperm(int(place.max()) + 1, generator=draws).tolist():
        own = labels[place == group].bincount(minlength=count.shape[1])
        fold = int((count[:, own > 0].sum(1)).argmin())
        count[fold] += own
        found[place == group] = fold
    if not count.all():
        raise InputError(f"a probe of masks needs pictures of {folds} subjects of every class, and one has too few")
    return found


def mask_probe(
    masks: Tensor,
    labels: Tensor,
    settings: SmallTraining = PROBE,
    folds: int = FOLDS,
    groups: Tensor | None = None,
) -> Tensor:
    """Which labels a small network names by the masks alone, cross-validated.

    Args:
        masks: (N,H,W) in [0,1] or bool; shrunk to 56x56, by the mean over each place.
        labels: (N,) int64, any numbers.
        settings: of the trainings, one a fold; their seed draws the folds, too.
        folds: parts of the pictures, each named by a network that has seen the others.
        groups: as of ``folds_of``.

    Returns:
        (N,) bool, right or not.

    Raises:
        InputError: as ``folds_of``.
    """
    place = folds_of(labels, folds, settings.seed, groups)
    names, number = labels.unique(return_inverse=True)
    small = F.interpolate(masks[:, None].float(), (SIDE, SIDE), mode="area")
    images = (255 * small).round().to(torch.uint8).expand(-1, 3, -1, -1)
    data = Labelled(images, number, tuple(map(str, names.tolist())))
    right = torch.zeros(len(labels), dtype=torch.bool)
    for fold in range(folds):
        seen, left = ((place != fold).nonzero()[:, 0], (place == fold).nonzero()[:, 0])
        trained = train_classifier(network_maker("small_cnn"), data.subset(seen), settings, name="mask probe")
        right[left] = top_classes(trained.classifier, data.subset(left).images) == number[left]
    return right
