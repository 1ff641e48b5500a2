"""How large a training's pictures are: in the shape that the classifier takes, at its own size or another."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError


def crop_size(classifier: Classifier, longer: int | None) -> tuple[int, int]:
    """(h,w) in the shape of the classifier's pictures.

    So a masker learns on pictures squashed as those that it will explain.

    Args:
        longer: the longer side in pixels; None is the classifier's own size.

    Example:
        >>> from torch import nn
        >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        >>> classifier = Classifier(network, mean=[0.5], std=[0.5], input_size=(320, 256))
        >>> crop_size(classifier, 160), crop_size(classifier, None)
        ((160, 128), (320, 256))
    """
    if longer is None:
        return classifier.size
    height, width = (max(round(side * longer / classifier.input_size), 1) for side in classifier.size)
    return height, width


def check_takes(name: str, forward: Callable[[Tensor], object], example: Tensor) -> None:
    """Tries pictures of a training's size before it begins.

    Args:
        name: of what reads them, for the message.
        forward: what will be asked of it.
        example: (N,C,h,w), pictures of that size.

    Raises:
        InputError: the network takes no pictures of this size.
    """
    try:
        with torch.no_grad():
            forward(example)
    except Exception as error:  # a transformer's patches, say; each library has its own way to refuse
        pixels = "x".join(map(str, example.shape[-2:]))
        raise InputError(f"{name} takes no pictures of {pixels} pixels: leave `input_size` out") from error
