"""RISE: the mean of random masks, each weighed by the score of the picture that it leaves."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.options import one_of, ranges
from maskwise.explainers.base import methods
from maskwise.explainers.perturb import Perturbation, generators, uniform
from maskwise.explainers.targets import Scoring, Targets

GridBorder = Literal["mirror", "clamp"]


@methods.register(
    "rise",
    family="perturbation",
    paper="Petsiuk, Das, Saenko 2018",
    needs_gradients=False,
    needs_target=True,
    random=True,
    cost="masks forwards",
)
class Rise(Perturbation):
    """S = 1 / (p N) sum_i score(x M_i) M_i (Petsiuk et al. 2018, Eq. 6).

    M_i is a grid of Bernoulli(p) cells, brought to s + 1 cells by bilinear interpolation and cropped at a random
    shift. Masks are made in chunks and never kept, so memory does not grow with their number.
    Of a network whose outputs are taken as they are (``activation="none"``) the whole picture's score is taken off
    first, which changes the map by a constant on the mean, and makes it the same whatever their offset is.
    ``report`` holds ``masks`` (N,K), how many were used, and ``standard_error`` (N,K): the mean over pixels of the
    map's standard error, as a share of the map's range.

    Args:
        classifier: what is explained.
        masks: N; 4,000 to 8,000 in the paper.
        grid: s, cells a side, at most the classifier's pixels.
        keep: p, chance that a cell is kept.
        scoring: ``probability`` (the paper) or ``logit`` (Group-CAM's and SESS's runs).
        border: beyond the middle of its outermost cells a grid is mirrored there, ``mirror`` (the authors' code and
            TorchRay's), or keeps their value, ``clamp``, which makes the rim of masks and map noisier.
        tolerance: stop as soon as the standard error of all maps of the batch is below it; None uses all masks.
        seed: of the masks; each picture draws its own.
        batch: masked pictures in one forward.

    Raises:
        InputError: a number out of range, or an unknown scoring or border.
    """

    def __init__(
        self,
        classifier: Classifier,
        masks: int = 4000,
        grid: int = 7,
        keep: float = 0.5,
        scoring: Scoring = "probability",
        border: GridBorder = "mirror",
        tolerance: float | None = None,
        seed: int = 0,
        batch: int | None = None,
    ) -> None:
        super().__init__(classifier, batch)
        if masks < 2 or grid < 1 or not 0 < keep <= 1:
            raise InputError(f"rise needs masks >= 2, grid >= 1 and 0 < keep <= 1, not {masks}, {grid} and {keep}")
        ranges(grid=(grid, 1, min(classifier.size)))
        one_of("scoring", scoring, get_args(Scoring))
        one_of("border", border, ("mirror", "clamp"))
        if tolerance is not None and tolerance <= 0:
            raise InputError(f"tolerance must be positive, not {tolerance}")
        self.masks, self.grid, self.keep, self.scoring = masks, grid, keep, scoring
        self.border, self.tolerance, self.seed = border, tolerance, seed

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            targets = self.resolve(images, targets)
            values = targets.by(self.scoring)
            clean, draws = self.classifier.normalise(images), generators(images, self.seed)
            side = (images.shape[-2], images.shape[-1])
            total = torch.zeros(len(images), targets.count, side[0] * side[1], device=images.device)
            squares = torch.zeros_like(total)
            zero = self.zero(clean, targets, values)
            used = 0
            for first, last in self.chunks(len(images), self.masks):
                masks = random_masks(draws, last - first, self.grid, self.keep, side, self.border).to(images.device)

                def make(part: slice, masks: Tensor = masks) -> Tensor:
                    copies = (clean[part, None] * masks[part, :, None]).flatten(0, 1)
                    return copies.contiguous(memory_format=torch.channels_last)

                scores = (self.score(make, len(images), last - first, values) - zero).transpose(1, 2)
                flat = masks.flatten(2).float()
                total.baddbmm_(scores, flat)
                squares.baddbmm_(scores**2, flat**2)
                used = last
                if self.tolerance is not None and used >= 2 and (_error(total, squares, used) <= self.tolerance).all():
                    break
            self.report["masks"] = torch.full((len(images), targets.count), float(used))
            self.report["standard_error"] = _error(total, squares, used)
            means: Tensor = (total / (used * self.keep)).unflatten(2, side)
            return means


def _error(total: Tensor, squares: Tensor, used: int) -> Tensor:
    """(N,K): standard error of the mean over masks, mean over pixels, as a share of the map's range."""
    mean = total / used
    variance = (squares / used - mean**2).clamp(min=0) / (used - 1)
    span = mean.amax(2) - mean.amin(2)
    return torch.where(span > 0, variance.sqrt().mean(2) / span.clamp(min=1e-12), 0)


def random_masks(
    draws: list[torch.Generator],
    count: int,
    grid: int,
    keep: float,
    side: tuple[int, int],
    border: GridBorder = "mirror",
) -> Tensor:
    """(N, count, H, W) of RISE's masks in [0,1], the numbers of each picture from its own generator.

    Bilinear interpolation works along each axis, so a mask is rows @ cells @ columns: no large grid is made.
    """
    drawn = uniform(draws, count, grid * grid + 2)
    cells = (drawn[..., 2:] < keep).float().unflatten(-1, (grid, grid))
    rows, columns = (_shifted(drawn[..., axis], grid, side[axis], border) for axis in (0, 1))
    grown: Tensor = rows @ cells @ columns.mT
    return grown


def _shifted(place: Tensor, grid: int, side: int, border: GridBorder) -> Tensor:
    """(..., side, grid): interpolation weights of ``side`` pixels that begin at ``place`` in [0,1) of a cell."""
    cell, last = math.ceil(side / grid), grid - 1
    pixels = (place * cell).floor()[..., None] + torch.arange(side)
    # Where a pixel's middle lies on the grid of cells that is stretched to (grid + 1) * cell pixels.
    at = (pixels + 0.5) * grid / ((grid + 1) * cell) - 0.5
    if border == "mirror":  # about the middle of the outermost cell; at most half a cell lies beyond it
        at = last - (last - at.abs()).abs()
    at = at.clamp(0, last)  # a grid of one cell has nothing to mirror
    return (1 - (at[..., None] - torch.arange(grid)).abs()).clamp(min=0)
