"""How large a training's pictures are: in the shape that the classifier takes, at its own size or another."""

from __future__ import annotations

from maskwise.classifiers import Classifier


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
