"""Hallucinated edges: what a mask draws into a picture that was not there (Kolek et al. 2023)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.blending import masked_in
from maskwise.box import as_tensor
from maskwise.classifiers import Classifier
from maskwise.core.options import in_range
from maskwise.images import with_channels
from maskwise.measures.base import metrics
from maskwise.measures.inputs import fitting_maps, unit_maps
from maskwise.measures.scoring import ClassifierMetric


def edges(images: Tensor, threshold: float = 0.1) -> Tensor:
    """Where pictures (N,C,H,W) have edges: (N,H,W) bool, Sobel's slope of the grey picture above a threshold.

    Args:
        threshold: of the slope, 1 beside an edge from black to white.
    """
    grey = with_channels(images.double(), 1) if images.shape[1] == 3 else images.double().mean(1, keepdim=True)
    smooth, slope = grey.new_tensor([1, 2, 1]) / 4, grey.new_tensor([-1, 0, 1])
    kernels = torch.stack([torch.outer(smooth, slope), torch.outer(slope, smooth)])[:, None]
    found = F.conv2d(F.pad(grey, (1, 1, 1, 1), mode="replicate"), kernels)
    return found.square().sum(1).sqrt() > threshold


def hallucinated_edges(images: Tensor, maps: Tensor, colour: Tensor, threshold: float = 0.1) -> Tensor:
    """Edges of the masked-in picture that lie beside none of the whole one, over the edges of that: (N,), float64.

    Args:
        images: (N,C,H,W) in [0,1].
        maps: (N,H,W) in [0,1].
        colour: (C,), what the mask hides becomes this.
        threshold: see ``edges``.

    Returns:
        From 0; NaN for a picture without edges. What lies within a pixel of an edge of the whole picture is none of
        the mask's.
    """
    before = edges(images, threshold)
    after = edges(masked_in(images.double(), maps, colour.double()[None, :, None, None]), threshold)
    around = F.max_pool2d(before[:, None].double(), 3, 1, 1)[:, 0] > 0
    count = before.sum((1, 2)).double()
    return (after & ~around).sum((1, 2)) / count.where(count > 0, torch.nan)


@metrics.register(
    "hallucination",
    family="mask statistics",
    title="hallucinated edges",
    paper="Kolek et al. 2023 (ShearletX)",
    says="{value} of the picture's edges are new: the mask has drawn them",
    unit="%",
    higher_is_better=False,
    needs=("images",),
)
class Hallucination(ClassifierMetric):
    """How many edges does the mask draw into the picture, which a classifier may take for things?

    Edges of the masked-in picture beside none of the whole one, in percent of the edges of that. A mask that keeps
    everything draws none; neither does one that fades out slowly.

    Args:
        classifier: its mean colour is what the mask hides; it is not asked.
        threshold: of Sobel's slope, above 0 and at most 1, which is beside an edge from black to white.
    """

    def __init__(self, classifier: Classifier, threshold: float = 0.1) -> None:
        super().__init__()
        self.ask(classifier, None)
        in_range("threshold", threshold, 0, 1, above=True)
        self.threshold = threshold

    def per_image(self, maps: Tensor, *, images: Tensor) -> Tensor:
        maps = fitting_maps(images, unit_maps(as_tensor(maps)))
        colour = self.classifier.mean.to(images.device)
        found = hallucinated_edges(images, maps.to(images.device), colour, self.threshold)
        return 100 * found[:, None].to(maps.device)
