"""CAMs whose weights are scores of pictures masked by the activation itself: Score-CAM and Group-CAM."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerExplainer
from maskwise.explainers.perturb import Perturbation
from maskwise.explainers.targets import Targets


class MaskedByActivation(Perturbation, LayerExplainer):
    """Scores pictures masked by upsampled channels.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the classifier's last tap.
        batch: masked pictures in one forward.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None, batch: int | None = None) -> None:
        Perturbation.__init__(self, classifier, batch)
        LayerExplainer.__init__(self, classifier, layer)

    def masked_scores(self, images: Tensor, masks: Tensor, fill: Tensor | float, targets: Targets) -> Tensor:
        """Probabilities (N,c,K) of normalised pictures x m + fill (1 - m), of masks (N,c,h,w) in [0,1].

        Args:
            fill: normalised pictures (N,3,S,S), or 0 for the mean colour.
        """
        clean, count = self.classifier.normalise(images), masks.shape[1]
        parts = []
        for first, last in self.chunks(len(images), count):

            def make(rows: slice, first: int = first, last: int = last) -> Tensor:
                large = _upsampled(masks[rows, first:last], images)[:, :, None]
                base: Tensor | float = fill[rows, None] if isinstance(fill, Tensor) else fill
                mixed = base + (clean[rows, None] - base) * large
                return mixed.flatten(0, 1).contiguous(memory_format=torch.channels_last)

            parts.append(self.score(make, len(images), last - first, targets.probabilities))
        return torch.cat(parts, 1)


def _upsampled(maps: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(maps, (images.shape[-2], images.shape[-1]), mode="bilinear", align_corners=False)


@methods.register(
    "score_cam",
    family="class activation",
    paper="Wang et al. 2020",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 + channels forwards",
)
class ScoreCam(MaskedByActivation):
    """ReLU(sum_k w_k A_k), w_k the probability of the picture masked by min-max A_k (Wang et al. 2020).

    Neither a baseline's score nor a softmax over channels enters w, as in the code that the papers compare with.
    Channels without contrast have no mask, and weigh nothing.
    """

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        with torch.no_grad():
            logits, output = self.activation(images)
            activation = self.grid(output)
            targets = targets.resolved(logits)
            masks = min_max(activation.float())
            weights = self.masked_scores(images, masks, 0.0, targets)
            # Weights that are all the same say nothing of the class: no answer rather than the activations' sum.
            told = ~(weights.amax(1) - weights.amin(1) <= 1e-6 * weights.amax(1).abs())
            weights = weights * (masks.amax((2, 3)) > 0)[:, :, None] * told[:, None]
            large = _upsampled(torch.einsum("nck,nchw->nkhw", weights, activation.float()), images)
        return large.relu()  # upsampling is linear, so summing first is the same and costs one map instead of c


@methods.register(
    "group_cam",
    family="class activation",
    paper="Zhang, Rao, Yang 2021",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="2 + groups forwards, 1 backward to the layer",
)
class GroupCam(MaskedByActivation):
    """Grad-CAM's terms in groups of channels, each group weighed by what it shows of the class in a blurred picture.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the classifier's last tap.
        groups: of consecutive channels.
        variant: ``paper`` drops the lowest 70% of each group before upsampling and sums signed score * min-max map,
            ReLU at the end; ``released`` (August 2021, the code that SESS copied) keeps all values and sums
            ReLU(score) * map as it is. In both, a group without contrast is left out.
        batch: masked pictures in one forward.

    Raises:
        InputError: fewer than one group, or an unknown variant.
    """

    percentile, blur_size, blur_sigma = 0.70, 51, 50.0

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        groups: int = 32,
        variant: Literal["paper", "released"] = "paper",
        batch: int | None = None,
    ) -> None:
        super().__init__(classifier, layer, batch)
        if groups < 1:
            raise InputError(f"groups must be at least 1, not {groups}")
        if variant not in ("paper", "released"):
            raise InputError(f"variant is paper or released, not {variant!r}")
        self.groups, self.variant = groups, variant

    def map(self, images: Tensor, targets: Targets) -> Tensor:
        targets = self.resolve(images, targets)
        activation, (gradient,), _ = self.with_gradients(images, targets)
        with torch.no_grad():
            terms = gradient.float().mean((2, 3), keepdim=True) * activation.float()
            groups = min(self.groups, terms.shape[1])
            # As torch.chunk cuts: equal parts, a smaller last one.
            maps = torch.stack([part.sum(1).relu() for part in terms.chunk(groups, 1)], 1)
            if self.variant == "paper":
                cut = maps.flatten(2).quantile(self.percentile, dim=2)[:, :, None, None]
                maps = torch.where(maps >= cut, maps, 0)
            maps = _upsampled(maps, images)
            masks = min_max(maps)
            clean = self.classifier.normalise(images)
            blurred = gaussian_blur(clean, self.blur_sigma, "mirror", reach=self.blur_size // 2)
            without = targets.probabilities(self.classifier.network(blurred)).float()
            scores = (self.masked_scores(images, masks, blurred, targets) - without[:, None])[..., 0]
            scores = scores * (masks.amax((2, 3)) > 0)
            if self.variant == "paper":
                return torch.einsum("ng,nghw->nhw", scores, masks).relu()
            return torch.einsum("ng,nghw->nhw", scores.relu(), maps)
