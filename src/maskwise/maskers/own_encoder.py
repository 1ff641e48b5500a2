"""Encoders of a masker's own, for classifiers whose layers it can't read."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from maskwise.classifiers import Classifier, classifiers, load_classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of

SMALL = "small"
WIDTHS = (32, 64, 96, 128, 160)


class SmallEncoder(nn.Sequential):
    """Convolutions of 3x3 with batch norm and ReLU: five scales, each half the one before, two convolutions at each.

    From pictures (N,C,H,W) to the means (N,160) of the last scale's channels, which nobody asks for: it is read at its
    taps, the ends of its scales.

    Args:
        channels: of a picture.
        widths: channels of each scale, fine to coarse.
    """

    def __init__(self, channels: int = 3, widths: Sequence[int] = WIDTHS) -> None:
        scales = (nn.Sequential(*_layers(c, w, 2), *_layers(w, w, 1)) for c, w in pairwise((channels, *widths)))
        super().__init__(*scales, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def _layers(channels: int, width: int, stride: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU()


def own_encoder(name: str, classifier: Classifier) -> Classifier:
    """A network whose taps a masker of ``classifier`` reads in place of that one's, at its size.

    Args:
        name: ``small``, a ``SmallEncoder`` with weights from the global generator, which learns with the mask; or one
            of the classifiers that ``maskwise classifiers`` lists by a plain name, as it is.

    Raises:
        InputError: another name, since a masker's file, which repeats it, must not load whatever it likes; or this
            encoder takes no such pictures.
    """
    one_of("encoder", name, (SMALL, *classifiers.names()))
    if name == SMALL:
        mean, std = classifier.mean.tolist(), classifier.std.tolist()
        made = Classifier(
            SmallEncoder(classifier.channels), mean=mean, std=std, input_size=classifier.size, name=name,
            activation="softmax",  # nobody reads its scores, so nobody need be asked what they are
        )  # fmt: skip
    else:
        known = load_classifier(name)
        if known.channels != classifier.channels:
            raise InputError(
                f"encoder {name} takes pictures of {known.channels} channels, and {classifier.name} of "
                f"{classifier.channels}: encoder=small takes those"
            )
        try:
            made = known.described(input_size=classifier.size)
        except InputError:
            pixels = "x".join(map(str, classifier.size))
            raise InputError(f"encoder {name} takes no pictures of {pixels} pixels: name another `encoder`") from None
    return made.to(classifier.device)
