"""How large a training's pictures are: in the shape that the classifier takes, at its own size or another."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.spread import evenly_spread
from maskwise.data import DataSet, Record
from maskwise.data.damaged import says_how_to_skip
from maskwise.images import resize, with_channels
from maskwise.training.base_recipe import BaseRecipe

ASKED_ABOUT_SIZE = 64  # pictures
LEAST_KNOWN = 0.5  # of them: with less, a masker learns little of use from pictures of that size
AnyRecipe = TypeVar("AnyRecipe", bound=BaseRecipe)


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


def own_size(settings: AnyRecipe, classifier: Classifier, said: Iterable[str] = ()) -> AnyRecipe:
    """A recipe for another network than its own: pictures are no larger than that one takes.

    A network of 32 pixels would see crops of 144 as it has never seen anything, or refuse them.

    Args:
        settings: the recipe, whose ``input_size`` suits the network that it names.
        classifier: the network that was taken instead.
        said: the overrides ``key=value``, of which ``input_size`` stands.

    Warns:
        UserWarning: where the size is another one now.
    """
    size = settings.input_size
    if size is None or size <= classifier.input_size or any(one.startswith("input_size=") for one in said):
        return settings
    warnings.warn(
        f"the recipe's pictures of {size} pixels are larger than {classifier.name} takes: it trains at "
        f"{classifier.input_size}, unless `input_size` is set",
        stacklevel=2,
    )
    return settings.model_copy(update={"input_size": classifier.input_size})


def same_answers(classifier: Classifier, images: Iterable[Tensor], size: tuple[int, int]) -> float:
    """Share of the pictures of which the classifier says at ``size`` (h,w) what it says at its own.

    Its top class, or with sigmoid outputs the set of all that it gives more than 1/2 to.

    Args:
        images: each (1,C,H,W) in [0,1], of any size.
    """
    alike = count = 0
    with torch.inference_mode():
        for image in images:
            own = classifier.logits(whole := classifier.prepare(image))
            there = classifier.logits(resize(with_channels(image.to(whole), classifier.channels), size))
            same = (own > 0) == (there > 0) if classifier.activation == "sigmoid" else own.argmax(1) == there.argmax(1)
            alike, count = alike + bool(same.all()), count + 1
    return alike / count


def share_known(classifier: Classifier, pictures: Sequence[tuple[DataSet, Record]], size: tuple[int, int]) -> float:
    """``same_answers`` of at most 64 of these pictures, evenly spread; below ``LEAST_KNOWN`` a size is not known.

    Raises:
        InputError: one of them can't be read.
    """
    some = (pictures[i] for i in evenly_spread(len(pictures), ASKED_ABOUT_SIZE))
    with says_how_to_skip():
        return same_answers(classifier, (data.image(record)[None] for data, record in some), size)


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
        raise InputError(
            f"{name} takes no pictures of {pixels} pixels: input_size=null trains at the size that it takes"
        ) from error
