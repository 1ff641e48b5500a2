"""Training a small classifier: what the data randomisation test and ROAR share."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from maskwise.checks.feeding import EpochBatches, colours
from maskwise.checks.networks import Maker
from maskwise.checks.pictures import Labelled
from maskwise.checks.rows import Values, as_float, on
from maskwise.checks.subject import ProgressCallback
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.images import with_channels

Optimiser = Literal["adamw", "sgd"]


class SmallTraining(BaseModel):
    """Settings of one training."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=32, ge=2)
    optimiser: Optimiser = "adamw"
    lr: float = Field(
        default=2e-3, gt=0, description="at its highest: it rises over a tenth of all steps, then falls as a cosine"
    )
    momentum: float = Field(default=0.9, ge=0, lt=1, description="of sgd")
    weight_decay: float = Field(default=1e-4, ge=0)
    augment: bool = Field(default=False, description="flip, and crop after padding by an eighth of the side")
    until: float | None = Field(
        default=None, gt=0, le=1, description="stop after the first epoch with this accuracy on the training pictures"
    )
    seed: int = Field(default=0, ge=0, description="of first weights, order and augmentation")


def training_settings(given: Mapping[str, Any], **defaults: Any) -> SmallTraining:
    """Settings from plain data.

    Raises:
        InputError: an unknown key, or a value out of its range.
    """
    try:
        return SmallTraining(**{**defaults, **given})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        known = "" if key in SmallTraining.model_fields else f"; there are {', '.join(SmallTraining.model_fields)}"
        raise InputError(f"training settings: {key}: {first['msg'].lower()}{known}") from None


@dataclass(frozen=True, eq=False)
class Trained:
    """A classifier and how well it knows the pictures it was trained on.

    Attributes:
        classifier: on pictures in [0,1], frozen and in eval mode.
        accuracy: in [0,1], on its training pictures without augmentation.
        epochs: how many there were.
    """

    classifier: Classifier
    accuracy: float
    epochs: int


def train_classifier(
    make: Maker,
    data: Labelled,
    settings: SmallTraining | None = None,
    *,
    name: str = "small",
    normalisation: tuple[Tensor, Tensor] | None = None,
    device: torch.device | str = "cpu",
    progress: ProgressCallback | None = None,
) -> Trained:
    """Trains a fresh network on labelled pictures; on a CPU the same call gives the same weights.

    Args:
        make: from a number of classes to a network with weights from the global generator.
        data: pictures and labels.
        settings: how; None is the defaults.
        name: of the classifier.
        normalisation: mean and deviation (3,) of the colours; None takes those of the pictures, so that their mean
            colour is zero for the network.
        device: where it is trained, and stays.
        progress: called with (done, total), in steps.

    Raises:
        InputError: fewer than two pictures, of a size or with channels that the network doesn't take, or a loss that
            became NaN.
    """

    from maskwise.training.small_classifier import SmallRecipe, train_small_classifier  # heavy; MPRT trains nothing

    settings = settings or SmallTraining()
    device = torch.device(device)
    if len(data) < 2:
        raise InputError("a classifier can't be trained on fewer than two pictures")
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        fresh = fresh_classifier(make, data, name, normalisation).to(device)
        draws = torch.Generator()
        draws.set_state(torch.get_rng_state())  # goes on where the weights were drawn
    images, labels, until = on(data.images, device), data.labels.to(device), settings.until

    def good_enough(classifier: Classifier) -> bool:
        return until is not None and _right(classifier, images, labels) >= until

    classifier, epochs = train_small_classifier(
        fresh,
        SmallRecipe(**settings.model_dump(exclude={"augment", "until"})),
        EpochBatches(images, labels, settings.batch_size, settings.augment, draws, fresh.channels),
        good_enough=good_enough,
        progress=progress,
    )
    return Trained(classifier, accuracies(classifier, data)[0], epochs)


def fresh_classifier(
    make: Maker, data: Labelled, name: str, normalisation: tuple[Tensor, Tensor] | None = None
) -> Classifier:
    """An untrained network as a classifier of the classes of ``data``; arguments as ``train_classifier``.

    A picture has one class: what ends in sigmoids, one a class, is read before them.
    """
    mean, std = colours(data.images) if normalisation is None else normalisation
    height, width = data.images.shape[-2:]
    module, size = make(len(data.classes)), (height, width)
    try:
        fresh = Classifier(
            module, mean=mean.tolist(), std=std.tolist(), labels=data.classes, input_size=size, name=name
        )
    except InputError as error:
        raise InputError(f"{error}. Pictures of {height}x{width} pixels are trained on: `size` sets another") from None
    return fresh.described(activation="softmax") if fresh.gives_findings else fresh


def _right(classifier: Classifier, images: Values, labels: Tensor) -> float:
    with eval_mode(classifier.module):
        guesses = torch.cat([scores.argmax(1) for scores in _scores(classifier, images)])
    return (guesses == labels).float().mean().item()


def accuracies(classifier: Classifier, data: Labelled, best: tuple[int, ...] = (1,)) -> list[float]:
    """Top-k accuracy in [0,1] for each k of ``best``; k beyond the number of classes is all of them."""
    found, done = [], 0
    for part in _scores(classifier, on(data.images, classifier.device)):
        order = part.cpu().argsort(dim=1, descending=True, stable=True)
        hits = order == data.labels[done : done + len(part), None]
        found.append(torch.stack([hits[:, :k].any(1) for k in best]))
        done += len(part)
    return torch.cat(found, 1).double().mean(1).tolist()


@torch.no_grad()
def _scores(classifier: Classifier, images: Values) -> Iterator[Tensor]:
    for part in images.split(128):
        yield classifier.logits(with_channels(as_float(part.to(classifier.device)), classifier.channels))
