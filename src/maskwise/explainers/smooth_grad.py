"""SmoothGrad: the mean of gradients of noisy copies."""

from __future__ import annotations

import torch
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.base import gradients, methods, recording
from maskwise.explainers.perturb import Perturbation, generators, normal
from maskwise.explainers.relevance.balanced import logits_to_differentiate
from maskwise.explainers.targets import Targets


@methods.register(
    "smooth_grad",
    family="gradients",
    paper="Smilkov et al. 2017",
    needs_gradients=True,
    needs_target=True,
    random=True,
    cost="samples forwards and backwards",
)
class SmoothGrad(Perturbation):
    """max over colours of |mean over samples of d logit / d pixel at x + noise| (Smilkov et al. 2017, section 3).

    Args:
        classifier: what is explained.
        samples: noisy copies.
        noise: standard deviation, as a share of the picture's own range (max - min); 0.15 as in PAIR's code.
        squared: mean of squared gradients instead, the form that ROAR found to be good (SmoothGrad-Squared).
        seed: of the noise; each picture draws its own.
        batch: copies in one forward.
        balanced: as ``gradient`` has it.

    Raises:
        InputError: no samples, or negative noise.
    """

    def __init__(
        self,
        classifier: Classifier,
        samples: int = 25,
        noise: float = 0.15,
        squared: bool = False,
        seed: int = 0,
        batch: int | None = None,
        balanced: bool = False,
    ) -> None:
        super().__init__(classifier, batch)
        if samples < 1 or noise < 0:
            raise InputError(f"smooth_grad needs samples >= 1 and noise >= 0, not {samples} and {noise}")
        self.samples, self.noise, self.squared, self.seed = samples, noise, squared, seed
        self.balanced = balanced

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        targets = self.resolve(images, targets)
        sigma = (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))[:, None, None, None, None] * self.noise
        draws = generators(images, self.seed)
        total = torch.zeros(len(images), targets.count, *images.shape[1:], device=images.device)
        for first, last in self.chunks(len(images), self.samples):
            noise = normal_each(draws, last - first, images)
            noisy = (images[:, None] + sigma * noise).flatten(0, 1)
            rows = torch.arange(len(images), device=images.device).repeat_interleave(last - first)
            with recording(noisy) as pixels:
                logits = logits_to_differentiate(self.classifier, pixels, self.balanced)
                wanted = targets.scores(logits, rows)
                for k, g in enumerate(gradients(wanted, pixels)):
                    seen = g.detach().unflatten(0, (len(images), -1))
                    total[:, k] += (seen**2 if self.squared else seen).sum(1)
        return total.abs().amax(2)


def normal_each(draws: list[torch.Generator], count: int, images: Tensor) -> Tensor:
    """(N,count,3,S,S) of noise, drawn copy by copy so that the size of a chunk changes nothing."""
    shape = images.shape[1:]
    return torch.stack([normal(draws, *shape) for _ in range(count)], 1).to(images.device)
