"""Curves of a class's probability while pixels are inserted or deleted, most salient first (Petsiuk et al. 2018)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

from maskwise.box import as_maps
from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.options import one_of
from maskwise.measures.filling import Filled, HoleFill, from_substrate, scores_without
from maskwise.measures.inputs import fitting_maps
from maskwise.measures.scoring import classes_followed, log_probabilities, whole_log_probabilities
from maskwise.measures.shared_scores import shared

CurveKind = Literal["insertion", "deletion"]
Substrate = Literal["gaussian51", "rise11", "mean"]
Ties = Literal["reading", "reversed"]
Step = int | float | str
STEP = "3.571%"  # 8 rows, 1,792 pixels, of 224 x 224, as RISE and Group-CAM take it; 28 steps of any picture
LEAST = 1e-6  # of a share: a million steps
NEARLY = 0.01  # a share that goes into a whole so many times, but for rounding, does so


def curves(
    classifier: Classifier,
    images: Tensor,
    maps: Tensor | np.ndarray,
    targets: Tensor | None = None,
    mode: CurveKind = "insertion",
    step: Step = STEP,
    blur: Substrate = "gaussian51",
    batch: int | None = None,
    ties: Ties = "reading",
    fill: HoleFill | None = None,
) -> Tensor:
    """Probability of each picture's class after 0, step, 2 step, … pixels: (N,steps+1), float64.

    Insertion begins with the blurred picture and brings pixels back; deletion begins with the picture and paints them
    in the mean colour; with a ``fill`` that stands where pixels are missing in both. All pictures' steps share batches,
    and changed copies exist only while they are scored.

    Args:
        classifier: gives the probabilities.
        images: (N,3,H,W) in [0,1].
        maps: (N,H,W), any scale.
        targets: (N,) classes to follow; None: the likeliest of each whole picture.
        mode: insertion or deletion.
        step: pixels a step, or the share of all as a float below 1 or a text like "3.571%", see ``step_ends``.
        blur: where insertion begins without a fill, see ``substrate``.
        batch: copies in one forward; None: 8 on a CPU, 64 elsewhere.
        ties: which of equal pixels goes first, see ``places``.
        fill: see ``fill_of``; the probability is the mean over its draws.

    Raises:
        InputError: shapes that differ, or an unknown mode, blur, step, ties or class.
    """
    one_of("mode", mode, ("insertion", "deletion"))
    maps = fitting_maps(images, as_maps(maps))
    images = images.to(classifier.device)
    n, size = len(images), maps[0].numel() if len(maps) else 1
    ends = step_ends(step, size).to(images.device)
    steps = len(ends) - 1
    place = places(maps.to(images.device), ties)
    whole = whole_log_probabilities(classifier, images, batch)
    classes = classes_followed(whole, targets)
    # The whole picture is the last step of an insertion and the first of a deletion: it is known already.
    first = 0 if mode == "insertion" else 1

    def gone(rows: Tensor, step: Tensor) -> Tensor:
        done = ends[step + first][:, None, None]
        return place[rows] >= done if mode == "insertion" else place[rows] < done

    def scored(of: Tensor, copies: Callable[[Tensor], Tensor]) -> Tensor:
        return log_probabilities(classifier, len(of), copies, batch, classes[of]).exp()

    fills: Iterable[Filled]
    if fill is None:
        around = blur if mode == "insertion" else "mean"
        fills = [from_substrate(images, shared(substrate, images, classifier.mean, around))]
    else:
        fills = fill.each_draw(images, classifier.mean)
    drawn = scores_without(fills, gone, n, steps, scored)
    known = whole.gather(1, classes[:, None]).exp()
    return torch.cat([drawn, known] if mode == "insertion" else [known, drawn], 1)


def places(maps: Tensor, ties: Ties = "reading") -> Tensor:
    """Place (N,H,W) of each pixel in its map's order, most salient first.

    Args:
        maps: (N,H,W).
        ties: of equal pixels the first in reading order goes first (``reading``), or the last (``reversed``): what
            RISE's evaluator does, which sorts upwards and flips. NumPy's default sort, which it uses, may
            shuffle equal pixels besides; ``reversed`` is the flip of a stable sort.

    Raises:
        InputError: an unknown rule.

    Example:
        >>> flat = torch.zeros(1, 1, 3)
        >>> places(flat).tolist(), places(flat, "reversed").tolist()
        ([[[0, 1, 2]]], [[[2, 1, 0]]])
    """
    one_of("ties", ties, ("reading", "reversed"))
    flat = maps.flatten(1)
    if ties == "reading":
        order = flat.argsort(dim=1, descending=True, stable=True)
    else:
        order = flat.argsort(dim=1, stable=True).flip(1)
    counts = torch.arange(order.shape[1], device=maps.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, counts).reshape(maps.shape)


def area_under(curves: Tensor) -> Tensor:
    """Normalised area (…) under curves (…,steps+1): the trapezoid rule over an axis of length 1."""
    return (curves.sum(-1) - (curves[..., 0] + curves[..., -1]) / 2) / (curves.shape[-1] - 1)


def pixels_of(step: Step, size: int) -> int:
    """A step as a whole number of pixels of a picture that has ``size``, at least one.

    Example:
        >>> pixels_of(1792, 50176), pixels_of("3.571%", 50176), pixels_of(0.25, 50176)
        (1792, 1792, 12544)
    """
    try:
        share = float(step.removesuffix("%")) / 100 if isinstance(step, str) else float(step)
    except ValueError:
        raise InputError(f"step is a number of pixels, a share below 1 or a text like '3.571%', not {step!r}") from None
    if isinstance(step, int) and step >= 1:
        return min(step, size)
    if not LEAST <= share <= 1 or isinstance(step, int) or (isinstance(step, str) and not step.endswith("%")):
        raise InputError(f"step is a number of pixels, a share below 1 or a text like '3.571%', not {step!r}")
    return max(round(share * size), 1)


def step_ends(step: Step, size: int) -> Tensor:
    """How many of a picture's ``size`` pixels are done after 0, 1, … steps: (steps+1,) int64, from 0 to ``size``.

    The last step may be smaller. A share gives every picture as many steps, whatever its size, so that curves of
    pictures of several sizes have one length; a number of pixels does not.

    Example:
        >>> step_ends(4, 10).tolist(), step_ends("25%", 10).tolist(), len(step_ends("3.571%", 1000))
        ([0, 4, 8, 10], [0, 2, 5, 8, 10], 29)
    """
    pixels = pixels_of(step, size)
    if isinstance(step, int):
        return torch.arange(math.ceil(size / pixels) + 1).mul(pixels).clamp(max=size)
    times = 1 / (float(step.removesuffix("%")) / 100 if isinstance(step, str) else step)
    times = round(times) if abs(times - round(times)) < NEARLY else times
    count = torch.arange(math.ceil(times) + 1, dtype=torch.float64)
    return (count * size / times).round().long().clamp(max=size)


def substrate(images: Tensor, mean: Tensor, blur: Substrate) -> Tensor:
    """What insertion begins with, (N,3,H,W).

    Args:
        images: (N,3,H,W) in [0,1].
        mean: (3,), the mean colour.
        blur: ``gaussian51`` of 51 pixels and sigma 50, borders mirrored (Group-CAM, SESS); ``rise11``, the kernel of
            RISE, nearly a box of 11 pixels, with the mean colour beyond the border; or ``mean``, the colour itself.
    """
    one_of("blur", blur, ("gaussian51", "rise11", "mean"))
    colour = mean.to(images)[:, None, None]
    if blur == "mean":
        return colour.expand_as(images)
    if blur == "gaussian51":
        return gaussian_blur(images, 50.0, "mirror", reach=25)
    # RISE filters a single bright pixel within an 11-pixel window whose borders are mirrored: sigma 5 goes almost flat.
    line = torch.from_numpy(gaussian_filter1d(np.eye(11)[5], 5.0)).to(images)
    kernel = torch.outer(line, line).expand(images.shape[1], 1, 11, 11)
    return F.conv2d(images - colour, kernel, padding=5, groups=images.shape[1]) + colour
