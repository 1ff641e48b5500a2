"""Integrated gradients."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.core.option_types import OnlyWith
from maskwise.core.options import in_range
from maskwise.explainers.base import gradients, methods, recording
from maskwise.explainers.perturb import Perturbation, generators, uniform
from maskwise.explainers.relevance.balanced import logits_to_differentiate
from maskwise.explainers.targets import Targets

MOST_STEPS = 1000  # a rule of n points takes n^3 time to find, and no integral here needs so many
Baseline = Literal["black", "white", "mean", "random"]


@methods.register(
    "integrated_gradients",
    family="gradients",
    paper="Sundararajan, Taly, Yan 2017",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="steps forwards and backwards, 2 forwards",
)
class IntegratedGradients(Perturbation):
    """|sum over colours of (x - x0) * mean of d logit / d pixel along the line from x0 to x| (their Eq. 1).

    ``report["completeness_error"]`` (N,K) is |sum of attributions - (f(x) - f(x0))|, in logits.

    Args:
        classifier: what is explained.
        steps: points on the line, of a Gauss-Legendre rule; at most 1,000.
        baseline: x0: black (the paper), white, the classifier's mean colour, or uniform noise (as in SESS's code).
        times_difference: False leaves the factor (x - x0) out, as Group-CAM's and SESS's code do.
        seed: of a random baseline only.
        batch: points in one forward.
        balanced: as ``gradient`` has it. The integral is then no longer complete, as ``completeness_error`` says.

    Raises:
        InputError: no steps or too many, or an unknown baseline.
    """

    only_with: ClassVar[OnlyWith] = {"seed": {"baseline": ("random",)}}

    def __init__(
        self,
        classifier: Classifier,
        steps: int = 25,
        baseline: Baseline = "black",
        times_difference: bool = True,
        seed: int = 0,
        batch: int | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(classifier, batch)
        in_range("steps", steps, 1, MOST_STEPS)
        if baseline not in ("black", "white", "mean", "random"):
            raise InputError(f"baseline is black, white, mean or random, not {baseline!r}")
        self.steps, self.baseline, self.times_difference, self.seed = steps, baseline, times_difference, seed
        self.balanced = balanced

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        values = self.attributions(images, targets, self.start(images))
        return values.sum(2).abs()

    def start(self, images: Tensor) -> Tensor:
        """x0 (N,3,S,S)."""
        if self.baseline == "random":
            return uniform(generators(images, self.seed), *images.shape[1:]).to(images)
        if self.baseline == "mean":
            return self.classifier.mean[:, None, None].expand_as(images)
        return torch.full_like(images, float(self.baseline == "white"))

    def attributions(self, images: Tensor, targets: Targets, start: Tensor) -> Tensor:
        """(N,K,3,S,S), signed."""
        with torch.no_grad():
            clean = self.classifier.logits(images)
            targets = targets.resolved(clean)
            gain = targets.scores(clean) - targets.scores(self.classifier.logits(start))
        points, weights = np.polynomial.legendre.leggauss(self.steps)
        where = torch.tensor((points + 1) / 2).to(images)
        share = torch.tensor(weights / 2).to(images)
        total = torch.zeros(len(images), targets.count, *images.shape[1:], device=images.device)
        for first, last in self.chunks(len(images), self.steps):
            along = where[first:last, None, None, None]
            line = torch.lerp(start[:, None], images[:, None], along).flatten(0, 1)
            rows = torch.arange(len(images), device=images.device).repeat_interleave(last - first)
            with recording(line.contiguous(memory_format=torch.channels_last)) as pixels:
                logits = logits_to_differentiate(self.classifier, pixels, self.balanced)
                wanted = targets.scores(logits, rows)
                for k, g in enumerate(gradients(wanted, pixels)):
                    total[:, k] += torch.einsum(
                        "nschw,s->nchw", g.detach().unflatten(0, (len(images), -1)), share[first:last]
                    )
        values = total * (images - start)[:, None]
        self.report["completeness_error"] = (values.sum((2, 3, 4)) - gain.float()).abs()
        return values if self.times_difference else total
