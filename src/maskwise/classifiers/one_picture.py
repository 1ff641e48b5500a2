"""What scores share that are made for one picture: a detector's boxes, a segmenter's regions, similarities."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.core.errors import InputError
from maskwise.labels import Labels


def one_picture(image: Tensor) -> Tensor:
    """(1,C,H,W) of a picture (C,H,W) or (1,C,H,W) in [0,1].

    Raises:
        InputError: it is none, or several.
    """
    shown = image[None] if isinstance(image, Tensor) and image.ndim == 3 else image
    if not isinstance(shown, Tensor) or shown.ndim != 4 or len(shown) != 1 or not shown.is_floating_point():
        shape = tuple(image.shape) if isinstance(image, Tensor) else type(image).__name__
        raise InputError(f"these scores are of one picture, a float tensor (C,H,W) in [0,1], not {shape}")
    return shown


def classifier_of_scores(
    scores: nn.Module,
    names: Sequence[str],
    size: tuple[int, int],
    name: str,
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
) -> Classifier:
    """A classifier whose outputs are scores, taken as they are; one score stands against its absence.

    Args:
        scores: from normalised pictures (N,C,H,W) to (N,K).
        names: of the K columns.
        size: (h,w) of the pictures.
        name: what reports call it.
        mean, std: of its normalisation.
    """
    called = (f"not {names[0]}", names[0]) if len(names) == 1 else tuple(names)
    return Classifier(
        scores,
        mean=mean,
        std=std,
        labels=Labels(called, synonyms=False),
        input_size=size,
        name=name,
        activation="none",
    )
