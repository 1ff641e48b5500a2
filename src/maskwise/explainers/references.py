"""Trivial maps that every comparison needs: centre, uniform, random, edges."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.explainers.base import Explainer, methods
from maskwise.explainers.perturb import generators, uniform
from maskwise.explainers.targets import Targets

NO_EDGE = 1e-5  # a step of one in 255 has 0.016


class Reference(Explainer):
    """A map that knows no classifier."""

    needs_target = False
    asks_classifier = False

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        return self.map(images, targets)[:, None].expand(-1, targets.count, -1, -1)


@methods.register(
    "center",
    family="references",
    paper="centre box of Dabkowski & Gal 2017",
    needs_gradients=False,
    needs_target=False,
    random=False,
    cost="none",
)
class Center(Reference):
    """1 - r^2 with r the larger of |x| and |y|, from the middle (0) to the edge (1).

    The part at or above its mean is the centre box of half the picture's area, the papers' reference.
    """

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        y, x = ((torch.arange(n, device=images.device) + 0.5) / n * 2 - 1 for n in images.shape[-2:])
        radius = torch.maximum(y.abs()[:, None], x.abs()[None])
        return (1 - radius**2).expand(len(images), -1, -1)


@methods.register(
    "uniform",
    family="references",
    paper="whole picture",
    needs_gradients=False,
    needs_target=False,
    random=False,
    cost="none",
)
class Uniform(Reference):
    """1 everywhere: the whole picture."""

    normalise = False
    flat_is_meant = True

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        return torch.ones_like(images[:, 0])


@methods.register(
    "random",
    family="references",
    paper="chance",
    needs_gradients=False,
    needs_target=False,
    random=True,
    cost="none",
)
class Random(Reference):
    """Independent uniform noise in each pixel.

    Args:
        classifier: gives only the size.
        seed: of the noise; each picture draws its own.
    """

    def __init__(self, classifier: Classifier, seed: int = 0) -> None:
        super().__init__(classifier)
        self.seed = seed

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        return uniform(generators(images, self.seed), *images.shape[2:]).to(images.device)


@methods.register(
    "edges",
    family="references",
    paper="Adebayo et al. 2018",
    needs_gradients=False,
    needs_target=False,
    random=False,
    cost="none",
)
class Edges(Reference):
    """Length of the Sobel gradient of the grey picture: what a map that only follows edges looks like."""

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        grey = images.mean(1, keepdim=True).float()
        across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]], device=images.device)
        kernel = torch.stack([across, across.T])[:, None]
        edges: Tensor = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernel).norm(dim=1)
        # What resizing leaves of one colour is no edge, and stretched it would be a map.
        return torch.where(edges > NO_EDGE, edges, 0.0)
