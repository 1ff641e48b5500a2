"""A judge that is used to holes: the classifier, trained on with pieces of its pictures missing."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from maskwise.checks.holed_training import trained_on_holes
from maskwise.checks.rows import Values
from maskwise.checks.small_training import SmallTraining
from maskwise.checks.subject import ProgressCallback, own_answers
from maskwise.classifiers import Classifier
from maskwise.core.options import in_range, one_of
from maskwise.images import with_channels
from maskwise.measures.single_deletion import cell_numbers

MissingPart = Literal["pixels", "cell"]
JUDGE_TRAINING = SmallTraining(epochs=10, optimiser="sgd", lr=1e-3)


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
    stays the one that is explained; the papers take true labels. Of a network of findings it learns all that is found.

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
    one_of("missing", missing, ("pixels", "cell"))
    in_range("share", share, 0, 1)
    in_range("cells", cells, 2)
    colour = classifier.mean[:, None, None]

    def cut(whole: Tensor, holes: torch.Generator) -> Tensor:
        whole = with_channels(whole, classifier.channels)  # pictures of data sets are RGB
        lost = missing_parts(len(whole), whole.shape[-2:], missing, share, cells, holes)
        return torch.where(lost[:, None].to(whole.device), colour, whole)

    answers = own_answers(classifier, images, batch)
    return trained_on_holes(classifier, images, answers, settings or JUDGE_TRAINING, cut, progress)[0]
