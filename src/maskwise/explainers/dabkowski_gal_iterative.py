"""Dabkowski & Gal's objective for one picture: a coarse mask optimised directly, without a masker."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Any

import torch
from torch import Tensor

from maskwise.class_objective import Alternative, Paper, Reading, Released, Seen
from maskwise.classifiers import Classifier
from maskwise.core.options import one_of, ranges
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.optimised import check_descent, descend, learning, scaled, steps, upsampled
from maskwise.explainers.perturb import are_probabilities, generators
from maskwise.explainers.targets import Targets

TINY = 1e-3  # in the mask's denominator, as in the released code
OBJECTIVES: dict[Reading, Any] = {
    "paper": Paper(tv=0.1),
    "released": Released(area=11, tv=0.5, preserve=0.2),
}


@methods.register(
    "dabkowski_gal_iterative",
    family="perturbation",
    paper="Dabkowski & Gal 2017",
    needs_gradients=True,
    needs_target=True,
    random=True,
    cost="400 forwards and backwards",
)
class DabkowskiGalIterative(Explainer):
    """M = |a| / (|a| + |b| + .001) on a coarse grid, a and b moved by Nesterov's SGD along the masker's objective.

    Preserved and destroyed picture get fresh alternative pictures in each iteration (``Alternative``). Iterations,
    grid, optimiser and the numbers of the ``released`` reading are the released code's. Of the ``paper`` reading the
    smoothness weighs 100 times as much as in training, as it does there: no network keeps this mask smooth. Values are
    the mask's own and are not stretched. ``report["area"]`` is its mean, ``report["preserved"]`` and
    ``report["destroyed"]`` the class's probability in the last two pictures.

    Args:
        classifier: what is explained.
        iterations: of SGD.
        learning_rate: of SGD, with momentum 0.9.
        size: side of the grid.
        reading: of the objective: ``paper`` (log-probabilities) or ``released`` (hinges on logits).
        area, tv: weights of the mask's size and of its total variation; None are the reading's: 10 and 0.1, or
            11 and 0.5.
        seed: of the alternative pictures; each picture draws its own.

    Raises:
        InputError: an option outside its range.
    """

    normalise = False

    def __init__(
        self,
        classifier: Classifier,
        iterations: int = 200,
        learning_rate: float = 0.1,
        size: int = 32,
        reading: Reading = "paper",
        area: float | None = None,
        tv: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(classifier)
        check_descent(iterations, learning_rate, size)
        one_of("reading", reading, ("paper", "released"))
        given = {name: value for name, value in (("area", area), ("tv", tv)) if value is not None}
        ranges(**{name: (value, 0, inf) for name, value in given.items()})
        self.objective: Paper | Released = replace(OBJECTIVES[reading], **given)
        self.iterations, self.learning_rate, self.size, self.seed = iterations, learning_rate, size, seed

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            classes = targets.classes_of(self.classifier.logits(images))[:, 0]
        draws = generators(images, self.seed)
        with learning(self, images, replace(targets, classes=classes[:, None], score=None)) as (pixels, wanted):
            assert wanted.classes is not None
            labels, real = wanted.classes[:, 0], torch.ones(len(pixels), dtype=torch.bool, device=pixels.device)
            sigma = scaled(11.0, pixels)
            alternative = Alternative(2 * round(27 * sigma / 11) + 1, sigma)
            pair = torch.full((len(pixels), 2, self.size, self.size), 0.5, device=pixels.device, requires_grad=True)
            optimiser = torch.optim.SGD([pair], self.learning_rate, momentum=0.9, nesterov=True)
            for _ in steps(self, self.iterations):
                masks = self.mask(pair, pixels)
                both = torch.cat([alternative(pixels, masks, draws), alternative(pixels, 1 - masks, draws)])
                kept, gone = self.classifier.logits(both).chunk(2)
                both_seen = torch.stack([wanted.probabilities(kept), wanted.probabilities(gone)], 1)
                self.scored(both_seen, are_probabilities(wanted.probabilities))
                terms = self.objective(Seen(masks, kept, gone, labels, real))
                # Means over the batch become sums, so that no picture's mask depends on how many others there are.
                descend(optimiser, len(pixels) * torch.stack(list(terms.values())).sum())
            with torch.no_grad():
                masks = self.mask(pair, pixels)
        shown, hidden = (wanted.probabilities(logits.detach())[:, 0] for logits in (kept, gone))
        self.report = {"area": masks.mean((1, 2)), "preserved": shown, "destroyed": hidden}
        return masks

    @staticmethod
    def mask(pair: Tensor, images: Tensor) -> Tensor:
        """Masks (N,H,W) at the pictures' size from a and b (N,2,h,w)."""
        first, second = pair.abs().unbind(1)
        return upsampled(first / (first + second + TINY), images)
