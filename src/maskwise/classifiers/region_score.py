"""Scores of a segmenter's regions, so that what explains classifiers explains segmenters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from maskwise.classifiers.classifier import Classifier
from maskwise.classifiers.normalisation import IMAGENET_MEAN, IMAGENET_STD
from maskwise.classifiers.one_picture import classifier_of_scores, one_picture
from maskwise.core.errors import InputError
from maskwise.core.modes import eval_mode
from maskwise.core.options import one_of


class RegionScore(nn.Module):
    """For each class of a picture, its mean score over the region that the segmenter gives it in the clean picture.

    The region is fixed once: found anew in a masked copy, it would shrink with the evidence and the mean would not
    (Vinogradova et al. 2020 sum over it). The columns belong to that one picture: explain no other with them.

    Args:
        segmenter: from normalised pictures (N,C,H,W) to scores of each place (N,L,h,w), alone or as ``out`` or
            ``logits`` of what it gives.
        image: (C,H,W) or (1,C,H,W) in [0,1], at the size at which it is to be explained.
        classes: indices of the columns; None takes all that the picture has, the largest region first.
        region: (H,W) bool in place of the segmenter's own, for all columns.
        score: ``logit``, or ``probability``, the softmax over classes at each place: in [0,1], as SESS and curves of
            insertion want it.
        names: of the segmenter's classes, by index.
        mean, std: of its normalisation, in units of [0,1].

    Attributes:
        regions: (K,h,w) bool, of the segmenter's places.
        classes, names: of the columns.

    Raises:
        InputError: a segmenter of another kind, or a class that has no region in the picture.

    Example:
        >>> halves = nn.Conv2d(3, 2, 1)
        >>> score = RegionScore(halves, torch.rand(3, 8, 8), classes=[0], region=torch.ones(8, 8, dtype=torch.bool))
        >>> score(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 1])
    """

    regions: Tensor

    def __init__(
        self,
        segmenter: nn.Module,
        image: Tensor,
        *,
        classes: Sequence[int] | None = None,
        region: Tensor | None = None,
        score: Literal["logit", "probability"] = "logit",
        names: Sequence[str] = (),
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__()
        one_of("score", score, ("logit", "probability"))
        image = one_picture(image)
        self.segmenter, self.score, self.size = segmenter, score, (image.shape[-2], image.shape[-1])
        self.mean, self.std = tuple(mean), tuple(std)
        shift, stretch = (torch.tensor(list(v), device=image.device)[:, None, None] for v in (mean, std))
        with torch.inference_mode(False), torch.no_grad(), eval_mode(segmenter):
            clean = _places(segmenter((image - shift) / stretch))[0]
        won = clean.argmax(0)
        if classes is None:
            sizes = won.flatten().bincount(minlength=len(clean))
            classes = [int(k) for k in sizes.argsort(descending=True, stable=True) if sizes[k]]
        if not classes or not all(0 <= k < len(clean) for k in classes):
            raise InputError(f"`classes` are indices below {len(clean)}, at least one, not {list(classes)}")
        self.classes = tuple(int(k) for k in classes)
        if region is None:
            regions = torch.stack([won == k for k in self.classes])
        else:
            if region.shape != image.shape[-2:]:
                raise InputError(
                    f"a region is (H,W) of the picture, {tuple(image.shape[-2:])}, not {tuple(region.shape)}"
                )
            small = nn.functional.interpolate(region[None, None].float(), clean.shape[-2:], mode="area")[0]
            regions = (small >= 0.5).expand(len(self.classes), -1, -1)
        empty = next((k for k, r in zip(self.classes, regions, strict=True) if not r.any()), None)
        if empty is not None:
            raise InputError(f"class {empty} has no region in the picture: leave `classes` out, or give a `region`")
        self.register_buffer("regions", regions.clone())
        self.names = tuple(names[k] if k < len(names) else f"class {k}" for k in self.classes)

    def forward(self, images: Tensor) -> Tensor:
        places = _places(self.segmenter(images))
        if self.score == "probability":
            places = places.softmax(1)
        chosen = places[:, list(self.classes)] * self.regions.to(places.dtype)
        return chosen.sum((2, 3)) / self.regions.sum((1, 2)).to(places.dtype)

    def classifier(self, name: str = "segmenter") -> Classifier:
        """A classifier on pictures in [0,1] whose classes are the regions, and whose scores are taken as they are."""
        return classifier_of_scores(self, self.names, self.size, name, self.mean, self.std)


def _places(raw: Any) -> Tensor:
    found = raw
    if isinstance(raw, Mapping):
        found = raw.get("out", raw.get("logits"))
    elif not isinstance(raw, Tensor):
        found = getattr(raw, "logits", None)
    if not isinstance(found, Tensor) or found.ndim != 4:
        raise InputError("a segmenter gives scores of each place (N,L,h,w), alone or as `out` or `logits`")
    return found
