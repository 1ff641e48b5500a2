"""Maps at a known distance to the truth: itself, spoilt step by step; maps that know nothing; and real methods."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from maskwise.core.blur import gaussian_blur
from maskwise.core.correlation import concordance
from maskwise.core.keyed import keyed_generator
from maskwise.core.min_max import min_max
from maskwise.explainers import explainer
from maskwise.studies.mechanisms.base import KnownCase, KnownSettings

BLURRED = {"an eighth": 1 / 8, "a quarter": 1 / 4}
SHIFTED = {"a sixteenth": 1 / 16, "an eighth": 1 / 8, "a quarter": 1 / 4}
NOISE = (0.2, 0.4, 0.6, 0.8)
TIES = 1e-3  # noise that orders equal pixels, so that none wins by coming first
KNOW_NOTHING = ("center", "edges", "random")
METHODS: dict[str, dict[str, Any]] = {
    "gradient": {}, "input_x_gradient": {}, "integrated_gradients": {}, "smooth_grad": {"samples": 10},
    "grad_cam": {}, "occlusion": {"window": 1 / 5, "stride": 1 / 10}, "rise": {},
}  # fmt: skip


def maps_of(case: KnownCase, settings: KnownSettings) -> dict[str, Tensor]:
    """All maps (N,S,S) in [0,1] by name."""
    found = spoilt(case.truth, case.images)
    classes = case.classifier.logits(case.classifier.prepare(case.images)).argmax(1)
    for name in (*KNOW_NOTHING, *METHODS):
        options = {"masks": settings.rise_masks} if name == "rise" else METHODS.get(name, {})
        made = explainer(name, case.classifier, **options)
        parts = [made(*part) for part in zip(case.images.split(16), classes.split(16), strict=True)]
        found[name] = torch.cat(parts).float()
    return found


def spoilt(truth: Tensor, images: Tensor) -> dict[str, Tensor]:
    """The truth (N,S,S) of images (N,3,S,S), and what is left of it after blur, shift, noise and loss.

    Widths and distances are parts of the side; a map is shifted to the right, and comes in again on the left. So much
    noise takes the place of so large a share of the pixels; it belongs to the picture.
    """
    side = truth.shape[-1]
    draws = [keyed_generator(image, 0) for image in images]
    noise, ties, lots = (torch.stack([torch.rand(side, side, generator=g) for g in draws]) for _ in range(3))
    found = {"truth": truth}
    found |= {f"blurred by {name}": min_max(gaussian_blur(truth, part * side)) for name, part in BLURRED.items()}
    for name, part in SHIFTED.items():
        found[f"shifted by {name}"] = truth.roll(round(part * side), 2)
    found |= {f"{share:.0%} noise": torch.where(lots < share, noise, truth) for share in NOISE}
    found["half of it lost"] = truth * _upper_half(truth)
    found["reversed"] = 1 - truth
    return {name: min_max(maps + TIES * ties) for name, maps in found.items()}


def _upper_half(truth: Tensor) -> Tensor:
    """(N,S,1): rows down to the one by which half of the truth is seen."""
    seen = truth.sum(2).cumsum(1)
    return (seen <= seen[:, -1:] / 2)[:, :, None].float()


def closeness(maps: Mapping[str, Tensor], truth: Tensor) -> dict[str, float]:
    """How well maps (N,S,S) order a picture's pixels: ``concordance`` with the truth (N,S,S), mean over pictures."""
    each = torch.stack([own.flatten(1) for own in maps.values()], 1)
    found = torch.stack([concordance(values, of) for values, of in zip(each, truth.flatten(1), strict=True)])
    return dict(zip(maps, found.mean(0).tolist(), strict=True))
