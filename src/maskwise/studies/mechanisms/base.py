"""A classifier whose mechanism is known, with pictures and, of each, the pixels that decide its class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from maskwise.checks import Labelled, SmallTraining, train_classifier
from maskwise.classifiers import Classifier
from maskwise.core.registry import Registry


@dataclass(frozen=True)
class KnownSettings:
    """How large the cases are.

    Attributes:
        side: of the pictures, in pixels.
        pictures: that are measured, for each mechanism.
        train: pictures that networks are trained on, where they are.
        epochs: of that at most; it ends once 99.5% of them are right.
        rise_masks: of ``rise``, one of the methods that are ordered.
    """

    side: int
    pictures: int
    train: int
    epochs: int
    rise_masks: int


@dataclass(frozen=True, eq=False)
class KnownCase:
    """Pictures of which it is known what decides their class.

    Attributes:
        classifier: gives each picture its class.
        images: (N,3,S,S) in [0,1].
        truth: (N,S,S) in [0,1], how much each pixel counts for the class; of a set of pixels, 1 in it.
    """

    classifier: Classifier
    images: Tensor
    truth: Tensor


# (photographs (G,3,S,S) in [0,1] to draw on, settings) -> case. The facts: title, and whether a network is trained.
MakeCase = Callable[[Tensor, KnownSettings], KnownCase]
mechanisms: Registry[MakeCase] = Registry("mechanism", trains=False)


def measured_and_spare(grounds: Tensor, settings: KnownSettings) -> tuple[Tensor, Tensor]:
    """Photographs to draw measured pictures on, and others for those that are trained on: no more than half each."""
    cut = min(settings.pictures, (len(grounds) + 1) // 2)
    spare = grounds[cut:] if len(grounds) > cut else grounds
    return repeated(grounds[:cut], settings.pictures), repeated(spare, settings.train)


def repeated(grounds: Tensor, count: int) -> Tensor:
    """``count`` of them (count,3,S,S): every second round is mirrored, every later pair turned by a quarter."""
    rounds = []
    for turn in range(-(-count // len(grounds))):
        turned = torch.rot90(grounds, turn // 2, (2, 3))
        rounds.append(turned.flip(3) if turn % 2 else turned)
    return torch.cat(rounds)[:count]


def trained(images: Tensor, labels: Tensor, classes: tuple[str, ...], name: str, settings: KnownSettings) -> Classifier:
    """A small network trained on images (N,3,S,S) in [0,1]; the same call gives the same weights."""
    data = Labelled((images * 255).round().to(torch.uint8), labels, classes)
    how = SmallTraining(epochs=settings.epochs, until=0.995)
    return train_classifier(three_convolutions, data, how, name=name).classifier


def three_convolutions(classes: int) -> nn.Module:
    """16, 32 and 64 channels, 3x3, with batch norm and ReLU, halved in between; then each channel's mean."""
    parts: list[nn.Module] = []
    for before, after in pairwise((3, 16, 32, 64)):
        parts += [] if before == 3 else [nn.MaxPool2d(2)]
        parts += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, classes))


def kept_right(classifier: Classifier, images: Tensor, truth: Tensor, labels: Tensor) -> KnownCase:
    """The pictures whose class the classifier has right: of the others nobody knows why. All, if fewer than two are."""
    with torch.no_grad():
        right = classifier.logits(classifier.prepare(images)).argmax(1).cpu() == labels
    if right.sum() < 2:
        right[:] = True
    return KnownCase(classifier, images[right], truth[right])
