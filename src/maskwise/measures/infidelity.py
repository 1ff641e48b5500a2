"""Infidelity: how badly does a map foretell what random changes do to the class's score? (Yeh et al. 2019)"""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from maskwise.box import as_maps, as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.keyed import keyed_generator
from maskwise.core.option_types import OnlyWith
from maskwise.core.options import in_range, one_of
from maskwise.measures.base import metrics
from maskwise.measures.inputs import fitting_maps
from maskwise.measures.scoring import (
    ClassifierMetric,
    FollowedClass,
    asked_for,
    class_logits,
    classes_followed,
    whole_logits,
)
from maskwise.measures.shared_scores import shared

Change = Literal["square", "gaussian"]
LARGEST_SQUARE = 10 / 32  # of the shorter side: the paper's squares have 1 to 10 pixels, its pictures 28 or 32


def changes(image: Tensor, mean: Tensor, std: Tensor, kind: Change, samples: int, sigma: float, seed: int) -> Tensor:
    """What is taken from a normalised picture: (samples,C,H,W).

    Args:
        image: (C,H,W) in [0,1].
        mean: (C,), the colour that is 0 once normalised.
        std: (C,).
        kind: ``square`` takes all of a random square, which leaves the mean colour there; ``gaussian`` takes noise.
        samples: how many.
        sigma: deviation of the noise, in units of the normalised picture.
        seed: of the random numbers, which belong to the picture.
    """
    draws = keyed_generator(image, seed)
    height, width = image.shape[-2:]
    if kind == "gaussian":
        return sigma * torch.randn(samples, *image.shape, generator=draws).to(image)
    largest = max(round(LARGEST_SQUARE * min(height, width)), 1)
    side = torch.randint(1, largest + 1, (samples,), generator=draws)
    corner = (torch.rand(2, samples, generator=draws) * (torch.tensor([[height], [width]]) - side + 1)).long()
    rows, columns = ((torch.arange(n) - at[:, None]) for n, at in zip((height, width), corner, strict=True))
    inside = [((x >= 0) & (x < side[:, None])) for x in (rows, columns)]
    square = (inside[0][:, :, None] & inside[1][:, None, :]).to(image.device)
    taken: Tensor = square[:, None] * ((image - mean[:, None, None]) / std[:, None, None])
    return taken


def change_costs(
    classifier: Classifier,
    images: Tensor,
    targets: Tensor | None,
    kind: Change,
    samples: int,
    sigma: float,
    seed: int,
    batch: int | None = None,
) -> Tensor:
    """What the class's logit loses by each of a picture's ``changes``: (N,samples), float64; as ``infidelity``."""
    mean, std = classifier.mean, classifier.std
    whole = whole_logits(classifier, images, batch)
    classes = classes_followed(whole, targets)
    found = whole.new_zeros(len(images), samples)
    for i, image in enumerate(images):
        taken = changes(image, mean, std, kind, samples, sigma, seed)

        def copies(rows: Tensor, image: Tensor = image, taken: Tensor = taken) -> Tensor:
            return image - taken[rows] * std[:, None, None]

        left = class_logits(classifier, samples, copies, batch, classes[i].expand(samples))
        found[i] = whole[i, classes[i]] - left
    return found


def infidelity(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | np.ndarray,
    targets: Tensor | None = None,
    kind: Change = "square",
    samples: int = 100,
    sigma: float = 0.2,
    seed: int = 0,
    scaled: bool = True,
    batch: int | None = None,
) -> Tensor:
    """Mean (N,), float64, over changes I of (beta sum(I m) - (f(x) - f(x - I)))^2, f the class's logit.

    The sum is over pixels and channels, all channels of a pixel having its saliency m. beta is the number that makes
    the mean smallest, E[sum(I m) d] / E[sum(I m)^2], so that the scale of a map, which is lost in [0,1], plays no
    part; the authors' code does so, too.

    Args:
        classifier: gives the logits.
        images: (N,3,H,W) in [0,1].
        maps: (N,H,W), any scale and sign.
        targets: (N,) classes to follow; None: the likeliest of each whole picture.
        kind: of change, ``square`` or ``gaussian``, see ``changes``.
        samples: changes of a picture.
        sigma: of gaussian changes.
        seed: of the changes.
        scaled: by beta; False takes maps as they are, beta = 1.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
    """
    one_of("kind", kind, ("square", "gaussian"))
    maps = fitting_maps(images, as_maps(maps)).double()
    images = images.to(classifier.device)
    costs = shared(change_costs, classifier, images, targets, kind, samples, sigma, seed, batch)
    found = []
    for image, saliency, lost in zip(images, maps.to(images.device), costs, strict=True):
        taken = changes(image, classifier.mean, classifier.std, kind, samples, sigma, seed)
        told = (taken.double().sum(1) * saliency).sum((1, 2))
        power = told.square().mean()
        beta = (told * lost).mean() / power.where(power > 0, 1) if scaled else 1.0
        found.append((beta * told - lost).square().mean())
    return torch.stack(found) if found else costs.new_zeros(0)


@metrics.register(
    "infidelity",
    family="faithfulness",
    title="infidelity",
    paper="Yeh et al. 2019",
    says="the map, brought to the best scale, is off by {value} as a forecast of what hiding random squares costs",
    unit="logit^2",
    higher_is_better=False,
    needs=("images",),
    takes=("targets",),
)
class Infidelity(ClassifierMetric):
    """How wrong is the map as a forecast of what the class's score loses when random squares of the picture are hidden?

    Mean squared error of the forecast, at the scale of the map that suits it best; see ``infidelity``.

    Args:
        classifier: gives the logits.
        kind: of change: random ``square``s become the mean colour, or ``gaussian`` noise is taken off.
        samples: changes of a picture.
        sigma: of gaussian changes, in units of the normalised picture.
        seed: of the changes, which belong to the picture and are the same for every method.
        scaled: by the best factor (beta); False takes maps as they are.
        target: follow the class that is ``predicted`` for the whole picture, or the ``class`` that ``targets`` gives.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
    """

    only_with: ClassVar[OnlyWith] = {"sigma": {"kind": ("gaussian",)}}

    def __init__(
        self,
        classifier: Classifier,
        kind: Change = "square",
        samples: int = 100,
        sigma: float = 0.2,
        seed: int = 0,
        scaled: bool = True,
        target: FollowedClass = "predicted",
        batch: int | None = None,
    ) -> None:
        super().__init__()
        self.ask(classifier, batch)
        one_of("kind", kind, ("square", "gaussian"))
        one_of("target", target, ("predicted", "class"))
        in_range("sigma", sigma, 0, above=True)
        for name, value, least in (("samples", samples, 2), ("seed", seed, 0)):
            if not isinstance(value, int) or value < least:
                raise InputError(f"{name} must be a whole number of at least {least}, not {value!r}")
        self.kind, self.samples, self.sigma, self.seed = kind, samples, sigma, seed
        self.scaled, self.target = scaled, target

    def per_image(self, maps: Tensor, *, images: Tensor, targets: Tensor | None = None) -> Tensor:
        asked = asked_for(self.target, targets)
        found = infidelity(
            self.classifier,
            images,
            maps,
            asked,
            self.kind,
            self.samples,
            self.sigma,
            self.seed,
            self.scaled,
            self.batch,
        )
        return found[:, None].to(as_tensor(maps).device)
