"""FIDO: how probably each pixel must be kept (or dropped), learnt as dropout rates."""

from __future__ import annotations

from math import inf
from typing import ClassVar

import torch
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.classifiers import Classifier
from maskwise.core.option_types import OnlyWith
from maskwise.core.options import one_of, ranges
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.optimised import (
    INFILLS,
    LEAST_BLUR,
    PAPERS_SIDE,
    check_descent,
    descend,
    hidden_somewhere,
    infill,
    learning,
    steps,
    upsampled,
)
from maskwise.explainers.perturb import generators, uniform
from maskwise.explainers.targets import Targets


@methods.register(
    "fido",
    family="perturbation",
    paper="Chang et al. 2019",
    needs_gradients=True,
    needs_target=True,
    random=True,
    cost="300 forwards and backwards of 8 copies",
)
class Fido(Explainer):
    """Fill-in of the dropout region (Chang et al. 2019, section 3): keep rates p that minimise, over masks z ~ p,

        ssr (smallest sufficient region):  E[-s_c(x z + r (1 - z))] + l1 sum p
        sdr (smallest destroying region):  E[+s_c(x z + r (1 - z))] + l1 sum (1 - p)

    with s_c = log p_c - log(1 - p_c). z is drawn in every pixel from the concrete relaxation of Bernoulli(p), p being
    the upsampled sigmoid of a coarse grid that starts at 1/2. The map is p for ssr and 1 - p for sdr, not
    stretched: it is a probability. ``report["area"]`` is its mean.

    Grid, learning rate, iterations, samples, l1, temperature and annealing are those of the authors' code. Their
    best infiller is a generative network; with the three here, which do not look at the mask, blur is our default.

    Args:
        classifier: what is explained.
        objective: ``ssr`` or ``sdr``.
        iterations, learning_rate: of Adam.
        l1: weight of the kept (dropped) area, for each pixel of a 224-pixel picture.
        samples: masks drawn in each iteration.
        size: side of the grid.
        temperature: of the relaxation.
        annealing: iterations over which ``l1`` grows linearly to its value; 0 has it from the start.
        infill: r: ``blur``, ``mean`` or ``noise``, drawn anew in each iteration.
        blur: standard deviation of the blur, in pixels of a 224-pixel picture (our choice: as Fong & Vedaldi 2017).
        seed: of the masks and the noise; each picture draws its own.

    Raises:
        InputError: an option outside its range.
    """

    normalise = False
    only_with: ClassVar[OnlyWith] = {"blur": {"infill": ("blur",)}}

    def __init__(
        self,
        classifier: Classifier,
        objective: str = "ssr",
        iterations: int = 300,
        learning_rate: float = 0.05,
        l1: float = 1e-3,
        samples: int = 8,
        size: int = 56,
        temperature: float = 0.1,
        annealing: int = 30,
        infill: str = "blur",
        blur: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__(classifier)
        one_of("objective", objective, ("ssr", "sdr"))
        one_of("infill", infill, INFILLS)
        check_descent(iterations, learning_rate, size)
        ranges(l1=(l1, 0, inf), samples=(samples, 1, inf), temperature=(temperature, 1e-3, inf))
        ranges(annealing=(annealing, 0, inf), blur=(blur, LEAST_BLUR, PAPERS_SIDE))
        self.objective, self.iterations, self.learning_rate, self.l1 = objective, iterations, learning_rate, l1
        self.samples, self.size, self.temperature, self.annealing = samples, size, temperature, annealing
        self.infill, self.blur, self.seed = infill, blur, seed

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        draws = generators(images, self.seed)
        sign = 1 if self.objective == "ssr" else -1
        with learning(self, images, self.resolve(images, targets)) as (pixels, wanted):
            n, _, height, width = pixels.shape
            rows = torch.arange(n, device=pixels.device).repeat_interleave(self.samples)
            fill = infill(self.infill, pixels, self.classifier, self.blur, draws)
            grid = torch.zeros(n, self.size, self.size, device=pixels.device, requires_grad=True)
            optimiser = torch.optim.Adam([grid], lr=self.learning_rate)
            for step in steps(self, self.iterations):
                if self.infill == "noise":
                    fill = infill(self.infill, pixels, self.classifier, self.blur, draws)
                keep = upsampled(grid.sigmoid(), pixels)
                noise = uniform(draws, self.samples, height, width).to(pixels.device)
                masks = concrete(keep[:, None], noise, self.temperature).flatten(0, 1)
                odds = log_odds(wanted, self.classifier.logits(masked_in(pixels[rows], masks, fill[rows])), rows)
                self.scored(odds.unflatten(0, (n, self.samples)))
                paid = keep if sign > 0 else 1 - keep
                weight = self.l1 * PAPERS_SIDE**2 * (min(step / self.annealing, 1) if self.annealing else 1)
                descend(optimiser, weight * paid.mean((1, 2)).sum() - sign * odds.sum() / self.samples)
            keep = upsampled(grid.detach().sigmoid(), pixels)
        maps = hidden_somewhere(self, keep if sign > 0 else 1 - keep, pixels, fill)
        self.report = {"area": maps.mean((1, 2))}
        return maps


def concrete(keep: Tensor, noise: Tensor, temperature: float) -> Tensor:
    """Relaxed Bernoulli: sigmoid((logit keep + logit noise) / temperature) of uniform noise, both in [0,1].

    It exceeds 1/2 with probability ``keep`` at every temperature.
    """
    return torch.sigmoid((keep.logit(1e-6) + noise.logit(1e-6)) / temperature)


def log_odds(targets: Targets, logits: Tensor, rows: Tensor) -> Tensor:
    """(n,1): log p_c - log(1 - p_c) of logits (n,C), without going through p; a score of the caller's as it is."""
    wanted = targets.scores(logits, rows)
    if targets.classes is None or logits.shape[1] == 1:
        return wanted
    own = torch.zeros_like(logits, dtype=torch.bool).scatter_(1, targets.classes[rows], True)
    return wanted.float() - logits.float().masked_fill(own, -inf).logsumexp(1, keepdim=True)
