"""Torchvision's classifiers by ``NAME`` or ``NAME@TAG``, a tag being one of the sets of weights that it has of NAME."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from maskwise.core.errors import InputError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ReleasedWeights:
    """A model of torchvision together with one of its trained weights.

    Attributes:
        model: as ``torchvision.models.list_models()`` lists it.
        tag: such as ``IMAGENET1K_V1``, never the alias ``DEFAULT``, which means something else after an update.
        weights: torchvision's entry of that tag: its file, and how pictures are to be prepared for it.
        named: was the tag asked for, or is it torchvision's choice?

    Example:
        >>> found = released_weights("resnet50@IMAGENET1K_V1")
        >>> found.name, found.input_size
        ('torchvision/resnet50@IMAGENET1K_V1', 224)
    """

    model: str
    tag: str
    weights: Any
    named: bool

    @property
    def name(self) -> str:
        return f"torchvision/{self.model}@{self.tag}"

    @property
    def input_size(self) -> int:
        """Side in pixels that these weights were trained for."""
        size: int = self.weights.transforms().crop_size[0]
        return size

    @property
    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of the channels, in units of [0,1]."""
        transforms = self.weights.transforms()
        return tuple(transforms.mean), tuple(transforms.std)

    def architecture(self, weights: Any = None, classes: int | None = None) -> nn.Module:
        """The network: with torchvision's ``weights``, which are fetched, or with random ones and any ``classes``."""
        from torchvision import models

        options: dict[str, Any] = {} if classes is None else {"num_classes": classes}
        if weights is None and self.model.startswith("vit_"):  # whose positions are as many as the size has patches
            options["image_size"] = self.input_size
        network: nn.Module = models.get_model(self.model, weights=weights, **options)
        return network


def released_weights(text: str) -> ReleasedWeights:
    """What ``NAME`` or ``NAME@TAG`` names; without a tag those weights that torchvision calls its default.

    Raises:
        InputError: no such classifier, or no such tag of it; the tags there are are listed.
    """
    from torchvision import models

    model, at, tag = text.partition("@")
    if model not in models.list_models(module=models):
        raise InputError(f"torchvision has no classifier {model!r}; see torchvision.models.list_models()")
    tags = tags_of(model)
    if at and tag not in (*tags, "DEFAULT"):
        raise InputError(f"torchvision/{model} has no weights {tag!r}: use {' or '.join(f'@{t}' for t in tags)}")
    if not at or tag == "DEFAULT":
        tag = models.get_model_weights(model)["DEFAULT"].name
        log.info("torchvision/%s: its weights are %s, torchvision's default; name others with @TAG", model, tag)
    return ReleasedWeights(model, tag, tags[tag], bool(at))


def tags_of(model: str) -> Mapping[str, Any]:
    """All weights with which a model gives scores of classes, by tag; those for feature extraction have none."""
    from torchvision import models

    return {w.name: w for w in models.get_model_weights(model) if w.meta.get("categories")}


def whose_file(path: Path, asked: ReleasedWeights) -> ReleasedWeights | None:
    """Which of the model's released weights a file is, byte for byte: the name of each ends in its SHA-256's beginning.

    Returns:
        None for a file of anybody else's.

    Raises:
        InputError: it is another release than the one that was asked for by name.
    """
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    digest = found.hexdigest()
    for tag, weights in tags_of(asked.model).items():
        begins = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
        if begins and digest.startswith(begins[1]):
            if asked.named and tag != asked.tag:
                raise InputError(
                    f"{path} holds torchvision's {tag}, and {asked.name} was asked for: "
                    f"name torchvision/{asked.model}@{tag}, or give the other file"
                )
            return ReleasedWeights(asked.model, tag, weights, asked.named)
    return None
