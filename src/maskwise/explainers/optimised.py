"""What methods that optimise a mask share: where gradients flow, what hides a pixel, steps, checks of options."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import inf

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.options import in_range, ranges
from maskwise.explainers.base import Explainer
from maskwise.explainers.doubts import dead_pixels, pixel_gradient
from maskwise.explainers.gradient_errors import no_gradient
from maskwise.explainers.perturb import normal
from maskwise.explainers.targets import Targets
from maskwise.infill import infiller

INFILLS = ("blur", "mean", "noise")
LARGEST_GRID = 1024  # cells a side of a mask: more are none of a picture that a classifier takes
LEAST_BLUR = 0.1  # such pixels: with less a blur hides nothing, and no mask changes the answer
SAME_COLOUR = 1e-5  # of pixels in [0,1]: a wide blur's sum is rounded, and one level of 255 is 400 times that
PAPERS_SIDE = 224  # lengths are given in pixels of a picture of this side, and scaled to the classifier's


@contextmanager
def learning(explainer: Explainer, images: Tensor, targets: Targets) -> Iterator[tuple[Tensor, Targets]]:
    """Gradients on, also inside a caller's inference mode; gives copies of pictures and targets that left it.

    A mask that hears nothing of the answer would follow its own terms alone, and look like a map.

    Raises:
        InputError: the answer has no gradient by the pixels; where that is zero the explainer doubts its maps.
    """
    known = pixel_gradient(explainer.classifier, images[:1])
    if known == "none":
        raise no_gradient(explainer.classifier.name)
    explainer.doubt("dead_pixels", dead_pixels(known))
    with torch.inference_mode(False), torch.enable_grad():
        classes = None if targets.classes is None else targets.classes.clone()
        goals = None if targets.goals is None else targets.goals.clone()
        yield images.detach().clone(), replace(targets, classes=classes, goals=goals)


def steps(explainer: Explainer, total: int, turn: int = 0, turns: int = 1) -> Iterator[int]:
    """0 ... total-1, telling the explainer's ``progress`` after each.

    Args:
        turn, turns: which of how many times that as many steps are taken.
    """
    for step in range(total):
        yield step
        if explainer.progress is not None:
            explainer.progress(turn * total + step + 1, turns * total)


def descend(optimiser: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step of the optimiser's own parameters; nothing else gets a gradient."""
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    optimiser.step()


def check_descent(iterations: int, learning_rate: float, size: int = 1) -> None:
    """Of a mask that an optimiser makes: steps, their length, and cells a side of its grid.

    Raises:
        InputError: no step; steps of length zero, which leave the mask as it began, or beyond 1,000; no cell or
            too many.
    """
    ranges(iterations=(iterations, 1, inf), size=(size, 1, LARGEST_GRID))
    in_range("learning_rate", learning_rate, 0, 1000, above=True)


def scaled(pixels: float, images: Tensor) -> float:
    """A length given for a picture of side 224, in pixels of these, by their shorter side."""
    return pixels * min(images.shape[-2:]) / PAPERS_SIDE


def upsampled(maps: Tensor, images: Tensor) -> Tensor:
    """Masks (N,h,w) at the pictures' size (N,H,W)."""
    size = (images.shape[-2], images.shape[-1])
    return F.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[:, 0]


def hidden_somewhere(explainer: Explainer, maps: Tensor, images: Tensor, fill: Tensor) -> Tensor:
    """Maps (N,h,w), with zeros where what stands in for hidden pixels is the picture itself, which is doubted.

    A picture of one colour is its own blur. What a mask learns there is rounding, of which an optimiser that scales its
    steps, as Adam does, makes as much as of any gradient.

    Args:
        explainer: notes those pictures.
        maps: as they were learned.
        images: (N,C,H,W) in [0,1].
        fill: (N,C,H,W), what the most of a mask makes of them.
    """
    nowhere = (images - fill).abs().flatten(1).amax(1) <= SAME_COLOUR
    explainer.doubt("dead_perturbation", nowhere)
    return torch.where(nowhere[:, None, None], 0.0, maps)


def infill(kind: str, images: Tensor, classifier: Classifier, sigma: float, draws: list[torch.Generator]) -> Tensor:
    """What stands in for hidden pixels, (N,3,H,W): it does not depend on the mask, so it has no gradient by it.

    Args:
        kind: ``blur`` (standard deviation ``sigma`` of a 224-pixel picture), ``mean`` (the classifier's mean
            colour) or ``noise`` (normal around it, with the normalisation's deviation; each call draws anew).
    """
    if kind == "blur":
        return gaussian_blur(images, scaled(sigma, images))
    colour = classifier.mean
    if kind == "mean":
        return infiller("mean")(images, torch.ones_like(images[:, 0]), colour)
    noise = normal(draws, *images.shape[1:]).to(images)
    return colour[:, None, None] + classifier.std[:, None, None] * noise
