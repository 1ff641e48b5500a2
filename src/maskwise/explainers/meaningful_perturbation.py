"""Meaningful perturbation: the smallest smooth deletion after which the class is gone."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.option_types import OnlyWith
from maskwise.core.options import one_of, ranges
from maskwise.core.total_variation import total_variation
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.doubts import ROUNDING
from maskwise.explainers.optimised import (
    INFILLS,
    LEAST_BLUR,
    PAPERS_SIDE,
    check_descent,
    descend,
    hidden_somewhere,
    infill,
    learning,
    scaled,
    steps,
    upsampled,
)
from maskwise.explainers.perturb import are_probabilities, generators, uniform
from maskwise.explainers.targets import Targets

RADII = range(0, 175, 5)  # of the discs tried as a start, in pixels of a 224-pixel picture
DISC_BLUR, GONE = 10, 0.01


@methods.register(
    "meaningful_perturbation",
    family="perturbation",
    paper="Fong & Vedaldi 2017",
    needs_gradients=True,
    needs_target=True,
    random=True,
    cost="300 forwards and backwards, 37 forwards",
)
class MeaningfulPerturbation(Explainer):
    """Deletion game (Fong & Vedaldi 2017, Eq. 6): a mask m, 1 keeps and 0 deletes, that minimises

        l1 sum|1 - m| + tv sum(|dm/dx|^beta + |dm/dy|^beta) + p_c(x m' + r (1 - m'))

    over a coarse grid m, with m' its blurred upsampling, p_c the softmax probability and r the picture without
    information. Adam, clamped to [0,1] after each step. The map is 1 - m', and is not stretched: its values are the
    share of each pixel that was deleted. ``report["area"]`` is its mean, ``report["probability"]`` what is left of p_c.

    The defaults are those of the authors' code (``l1`` and ``tv`` are weights of sums over the 28 x 28 grid; a
    well-known re-implementation uses 0.01 with a mean and 0.2 instead).

    Args:
        classifier: what is explained.
        iterations: of Adam.
        learning_rate: of Adam.
        l1, tv, beta: as above.
        size: side of the grid.
        infill: r: ``blur``, ``mean`` (the paper's constant) or ``noise``, drawn anew in each iteration.
        blur: standard deviation of r's blur, where that is it. Like the next two, in pixels of a 224-pixel picture.
        mask_blur: standard deviation of the upsampled mask's blur.
        jitter: the picture is shifted anew in each iteration, by up to half of this each way (the authors crop
            at 0 to 3; ours is symmetric so that the mask has no offset).
        start: ``circle``, the smallest central disc that takes 99% of the probability away, or ``ones``,
            which is also taken where no disc does.
        seed: of jitter and noise; each picture draws its own.

    Raises:
        InputError: an option outside its range.
    """

    normalise = False
    only_with: ClassVar[OnlyWith] = {"blur": {"infill": ("blur",)}}

    def __init__(
        self,
        classifier: Classifier,
        iterations: int = 300,
        learning_rate: float = 0.1,
        l1: float = 1e-4,
        tv: float = 1e-2,
        beta: float = 3.0,
        size: int = 28,
        infill: str = "blur",
        blur: float = 10.0,
        mask_blur: float = 5.0,
        jitter: float = 4.0,
        start: str = "circle",
        seed: int = 0,
    ) -> None:
        super().__init__(classifier)
        check_descent(iterations, learning_rate, size)
        ranges(l1=(l1, 0, inf), tv=(tv, 0, inf), beta=(beta, 1, inf), jitter=(jitter, 0, PAPERS_SIDE))
        ranges(blur=(blur, LEAST_BLUR, PAPERS_SIDE), mask_blur=(mask_blur, 0, PAPERS_SIDE))
        one_of("infill", infill, INFILLS)
        one_of("start", start, ("circle", "ones"))
        self.iterations, self.learning_rate, self.l1, self.tv, self.beta = iterations, learning_rate, l1, tv, beta
        self.size, self.infill, self.blur, self.mask_blur = size, infill, blur, mask_blur
        self.jitter, self.start, self.seed = jitter, start, seed

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        draws = generators(images, self.seed)
        with learning(self, images, self.resolve(images, targets)) as (pixels, wanted):
            reach, channels = round(scaled(self.jitter / 2, pixels)), pixels.shape[1]
            moves = (uniform(draws, self.iterations, 2) * (2 * reach + 1)).floor().long().to(pixels.device) - reach
            fill = infill(self.infill, pixels, self.classifier, self.blur, draws)
            mask = self.first(pixels, fill, wanted).requires_grad_(True)
            optimiser = torch.optim.Adam([mask], lr=self.learning_rate)
            for step in steps(self, self.iterations):
                if self.infill == "noise":
                    fill = infill(self.infill, pixels, self.classifier, self.blur, draws)
                both = shifted(torch.cat([pixels, fill], 1), moves[:, step]) if reach else torch.cat([pixels, fill], 1)
                kept = masked_in(both[:, :channels], self.smooth(mask, pixels), both[:, channels:])
                left = wanted.probabilities(self.classifier.logits(kept))
                self.scored(left[:, None], are_probabilities(wanted.probabilities))
                rough = total_variation(mask, beta=self.beta).sum()
                descend(optimiser, left.sum() + self.l1 * (1 - mask).abs().sum() + self.tv * rough)
                with torch.no_grad():
                    mask.clamp_(0, 1)
            with torch.no_grad():
                keep = self.smooth(mask, pixels).clamp(0, 1)
                left = wanted.probabilities(self.classifier.logits(masked_in(pixels, keep, fill)))[:, 0]
        gone = torch.where(1 - keep <= ROUNDING, 0.0, 1 - keep)  # the blur of ones is not 1
        gone = hidden_somewhere(self, gone, pixels, fill)
        self.report = {"area": gone.mean((1, 2)), "probability": left}
        return gone

    def smooth(self, mask: Tensor, images: Tensor) -> Tensor:
        """Coarse masks (N,h,w) at the pictures' size, blurred (Eq. 5)."""
        return gaussian_blur(upsampled(mask, images), scaled(self.mask_blur, images))

    def first(self, images: Tensor, fill: Tensor, targets: Targets) -> Tensor:
        """The mask (N,h,w) to start from."""
        mask = torch.ones(len(images), self.size, self.size, device=images.device)
        if self.start == "ones":
            return mask
        axis = (torch.arange(self.size, device=images.device) + 0.5) / self.size - 0.5
        radius = PAPERS_SIDE * (axis[:, None] ** 2 + axis**2).sqrt()
        with torch.no_grad():

            def probability(changed: Tensor) -> Tensor:
                found = targets.probabilities(self.classifier.logits(changed))
                self.scored(found[:, None], are_probabilities(targets.probabilities))
                return found[:, 0]

            clean, empty = probability(images), probability(fill)
            found = torch.zeros(len(images), dtype=torch.bool, device=images.device)
            for limit in RADII:
                disc = 1 - gaussian_blur((radius <= limit).float(), DISC_BLUR * self.size / PAPERS_SIDE)
                wide = disc.expand_as(mask)
                left = probability(masked_in(images, upsampled(wide, images), fill))
                now = (left - empty <= GONE * (clean - empty)) & ~found
                mask = torch.where(now[:, None, None], wide, mask)
                found |= now
                if found.all():
                    break
        return mask.clone()


def shifted(images: Tensor, moves: Tensor) -> Tensor:
    """Pictures (N,C,H,W), each moved by its own (rows, columns) of (N,2); the border is repeated."""
    n, _, height, width = images.shape
    rows = (torch.arange(height, device=images.device) + moves[:, :1]).clamp(0, height - 1)
    columns = (torch.arange(width, device=images.device) + moves[:, 1:]).clamp(0, width - 1)
    pictures = torch.arange(n, device=images.device)[:, None, None]
    return images.permute(0, 2, 3, 1)[pictures, rows[:, :, None], columns[:, None]].permute(0, 3, 1, 2)
