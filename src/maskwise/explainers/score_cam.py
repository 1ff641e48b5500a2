"""CAMs whose weights are scores of pictures masked by the activation itself: Score-CAM and Group-CAM."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.blur import gaussian_blur
from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.option_types import IS_SET, OnlyWith
from maskwise.core.options import one_of
from maskwise.explainers.base import methods
from maskwise.explainers.layers import LayerExplainer
from maskwise.explainers.perturb import Perturbation
from maskwise.explainers.targets import Targets


class MaskedByActivation(Perturbation, LayerExplainer):
    """Scores pictures masked by upsampled channels.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one that the answer depends on.
        batch: masked pictures in one forward.
    """

    def __init__(self, classifier: Classifier, layer: str | None = None, batch: int | None = None) -> None:
        Perturbation.__init__(self, classifier, batch)
        LayerExplainer.__init__(self, classifier, layer)

    def masked_scores(
        self, images: Tensor, maps: Tensor, fill: Tensor | float, values: Callable[[Tensor, Tensor], Tensor]
    ) -> Tensor:
        """Values (N,c,K) of normalised pictures x m + fill (1 - m), m the masks of maps (N,c,h,w).

        A map becomes a mask by being upsampled and then stretched to [0,1] (Wang et al. 2020, Eq. 7), so that each
        mask reaches both ends; stretched first, a peak of one cell would stay below 1. A map without contrast masks
        everything.

        Args:
            fill: normalised pictures (N,3,S,S), or 0 for the mean colour.
            values: from logits and the picture of each row to (rows,K): ``targets.scores`` or ``.probabilities``.
        """
        clean, shown = self.classifier.normalise(images), has_contrast(maps)
        parts = []
        for first, last in self.chunks(len(images), maps.shape[1]):

            def make(rows: slice, first: int = first, last: int = last) -> Tensor:
                large = _masks(_upsampled(maps[rows, first:last], images), shown[rows, first:last])[:, :, None]
                base: Tensor | float = fill[rows, None] if isinstance(fill, Tensor) else fill
                mixed = base + (clean[rows, None] - base) * large
                return mixed.flatten(0, 1).contiguous(memory_format=torch.channels_last)

            parts.append(self.score(make, len(images), last - first, values))
        return torch.cat(parts, 1)


def has_contrast(maps: Tensor) -> Tensor:
    """(N,c) bool of maps (N,c,h,w): asked before upsampling, whose rounding gives a flat map contrast."""
    return min_max(maps).amax((2, 3)) > 0


def _masks(large: Tensor, shown: Tensor) -> Tensor:
    return min_max(large) * shown[:, :, None, None]


def _upsampled(maps: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(maps, (images.shape[-2], images.shape[-1]), mode="bilinear", align_corners=False)


@methods.register(
    "score_cam",
    family="class activation",
    paper="Wang et al. 2020",
    needs_gradients=False,
    needs_target=True,
    random=False,
    cost="1 + channels forwards; with top 1 backward to the layer and top forwards",
)
class ScoreCam(MaskedByActivation):
    """ReLU(sum_k w_k A_k), w_k of the picture masked by A_k, upsampled and then min-max (Wang et al. 2020, Eq. 6-10).

    Channels without contrast have no mask, and weigh nothing.

    Args:
        classifier: what is explained.
        layer: name of the layer; None is the deepest one that the answer depends on.
        variant: ``released`` (the authors' code, and the one that other papers compare with): w_k is the masked
            picture's probability of the class; of a network whose outputs are taken as they are (``activation="none"``)
            what its score is more than that of a picture of the mean colour, Algorithm 1's baseline. ``paper``
            (Algorithm 1): w is the softmax over channels of the class's logit less that of a baseline; the baseline is
            the same for all channels, so that it cancels there.
        top: only so many channels, those with the largest mean gradient of the class (gScoreCAM, Chen et al. 2022, who
            take 300); None is all of them.
        dropped: with ``top`` and ``variant=paper``, what the softmax over channels has of the others: ``clean``,
            nothing; ``released``, gScoreCAM's code, a score of 0, so that they keep a weight.
        batch: masked pictures in one forward.

    Raises:
        InputError: no such layer, an unknown variant, or top below 1.
    """

    only_with: ClassVar[OnlyWith] = {"dropped": {"variant": ("paper",), "top": IS_SET}}

    def __init__(
        self,
        classifier: Classifier,
        layer: str | None = None,
        variant: Literal["released", "paper"] = "released",
        top: int | None = None,
        dropped: Literal["clean", "released"] = "clean",
        batch: int | None = None,
    ) -> None:
        super().__init__(classifier, layer, batch)
        one_of("variant", variant, ("released", "paper"))
        one_of("dropped", dropped, ("clean", "released"))
        if top is not None and top < 1:
            raise InputError(f"top must be at least 1, not {top}")
        self.variant, self.top, self.dropped = variant, top, dropped

    def saliency(self, images: Tensor, targets: Targets) -> Tensor:
        if self.top is not None:
            return self._of_top(images, self.resolve(images, targets), self.top)
        with torch.no_grad():
            logits, output = self.activation(images)
            activation = self.grid(output).float()
            targets = targets.resolved(logits)
            values = targets.probabilities if self.variant == "released" else targets.scores
            weights = self.masked_scores(images, activation, 0.0, values) - self._zero(images, targets)
            shown = has_contrast(activation)[:, :, None]
            if self.variant == "paper":
                weights = weights.softmax(1)
            weights = torch.where(shown, weights, 0)
            large = _upsampled(torch.einsum("nck,nchw->nkhw", weights, activation), images)
        return large.relu()  # upsampling is linear, so summing first is the same and costs one map instead of c

    def _of_top(self, images: Tensor, targets: Targets, top: int) -> Tensor:
        activation, by_target, _ = self.with_gradients(images, targets)
        found = []
        with torch.no_grad():
            for k, gradient in enumerate(by_target):
                one, seen = targets.one(k), activation.float()
                rank = gradient.float().mean((2, 3)).argsort(dim=1, descending=True, stable=True)[:, :top]
                chosen = seen.gather(1, rank[:, :, None, None].expand(-1, -1, *seen.shape[2:]))
                values = one.probabilities if self.variant == "released" else one.scores
                scores = (self.masked_scores(images, chosen, 0.0, values) - self._zero(images, one))[..., 0]
                least = 0.0 if self.variant == "released" or self.dropped == "released" else -torch.inf
                weights = torch.full_like(seen[:, :, 0, 0], least).scatter(1, rank, scores)
                if self.variant == "paper":
                    weights = weights.softmax(1)
                weights = torch.where(has_contrast(seen), weights, 0)
                found.append(_upsampled(torch.einsum("nc,nchw->nhw", weights, seen)[:, None], images))
        return torch.cat(found, 1).relu()

    def _zero(self, images: Tensor, targets: Targets) -> Tensor | float:
        """Of ``released`` where outputs are taken as they are: the score of a picture of the mean colour."""
        if self.variant == "paper":  # whose softmax knows no offset
            return 0.0
        return self.zero(torch.zeros_like(self.classifier.normalise(images)), targets, targets.probabilities)


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
        layer: name of the layer; None is the deepest one that the answer depends on.
        groups: of consecutive channels.
        variant: ``paper`` drops the lowest 70% of each group before upsampling and sums signed score * min-max map,
            ReLU at the end; ``released`` (August 2021, the code that SESS copied) keeps all values and sums
            ReLU(score) * map as it is. In both, a group without contrast adds nothing to the map's contrast.
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
            clean = self.classifier.normalise(images)
            blurred = gaussian_blur(clean, self.blur_sigma, "mirror", reach=self.blur_size // 2)
            without = targets.probabilities(self.classifier.network(blurred)).float()
            scores = (self.masked_scores(images, maps, blurred, targets.probabilities) - without[:, None])[..., 0]
            large = _upsampled(maps, images)
            if self.variant == "paper":
                return torch.einsum("ng,nghw->nhw", scores, _masks(large, has_contrast(maps))).relu()
            return torch.einsum("ng,nghw->nhw", scores.relu(), large)
