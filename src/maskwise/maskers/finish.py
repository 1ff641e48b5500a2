"""From mask logits to a mask: sigmoid or binary concrete, nearest upsampling, averages over superpixels, a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.maskers.gumbel import GumbelMode, binary_concrete
from maskwise.maskers.pamr import pamr


@dataclass(frozen=True)
class Finish:
    """How a masker ends.

    Args:
        gumbel: ``none`` is a sigmoid. ``soft`` and ``hard`` are binary concrete samples in training and h > 0 after
            it (Phang et al. 2021).
        temperature: of the binary concrete distribution.
        superpixels: average the mask over about so many of them (Fan et al. 2017); None leaves it as it is.
        class_gate: multiply the trained mask by a class's gate, fully open from this part of its peak on (see
            ``ClassGate``); training does without. None leaves the mask class-agnostic.
        gate_scales: how much the picture is enlarged for the gate, each at least 1; all but 1 cost a forward.
        sharpness: the trained mask is sharpened about its own mean (see ``sharpened``); training does without. None
            leaves it as it is.
        pamr: rounds in which the trained mask runs along to pixels of the same colour (see ``pamr``); training does
            without. 0 leaves it as it is, 10 is usual.
    """

    gumbel: GumbelMode = "none"
    temperature: float = 0.1
    superpixels: int | None = None
    class_gate: float | None = None
    gate_scales: tuple[float, ...] = (1.0,)
    sharpness: float | None = None
    pamr: int = 0

    @classmethod
    def of(cls, recipe: Mapping[str, Any]) -> Finish:
        """What a recipe says, by its default where it says nothing."""
        return cls(**{f.name: recipe[f.name] for f in fields(cls) if f.name in recipe})

    @property
    def is_pointwise(self) -> bool:
        """Is each value of the mask made of its place's logit, the mean at most beside it?"""
        return self.class_gate is None and self.superpixels is None and not self.pamr

    def mask(self, logits: Tensor, size: tuple[int, int], training: bool) -> Tensor:
        """Mask (N,H,W) in [0,1] of ``size`` from logits (N,h,w)."""
        if self.gumbel == "none":
            mask = logits.sigmoid()
            if self.sharpness is not None and not training:
                mask = sharpened(logits, self.sharpness)
        elif training:
            mask = binary_concrete(logits, self.temperature, self.gumbel == "hard")
        else:
            mask = (logits > 0).to(logits.dtype)
        return F.interpolate(mask[:, None], size, mode="nearest")[:, 0]

    def averaged(self, masks: Tensor, images: Tensor) -> Tensor:
        """Masks (N,H,W), constant on each superpixel of ``images`` (N,3,H,W) if that was asked for."""
        if self.superpixels is None:
            return masks
        return averaged(masks, superpixels(images, self.superpixels))

    def refined(self, masks: Tensor, images: Tensor) -> Tensor:
        """Masks (N,K,H,W) of a trained masker along the colours of ``images`` (N,c,H,W), if that was asked for."""
        return pamr(masks, images, self.pamr) if self.pamr else masks


def sharpened(logits: Tensor, sharpness: float) -> Tensor:
    """sigmoid(s (z - z0)) of logits z (N,h,w), where z0 is the logit of each mask's mean.

    A masker that was taught by noisy targets orders places well and is too faint: its best threshold is not 1/2 but
    where box rules and steps of evaluations put theirs, at the mean. What is above it comes out above 1/2, in the same
    order.
    """
    mean = logits.float().sigmoid().mean((1, 2), keepdim=True).clamp(1e-6, 1 - 1e-6)
    return (sharpness * (logits - mean.logit())).sigmoid()


def superpixels(images: Tensor, count: int) -> Tensor:
    """SLIC superpixels (N,H,W) of pictures (N,3,H,W) in [0,1], numbered from 0 in each."""
    from skimage.segmentation import slic  # loads slowly, and few maskers need it

    pixels = images.detach().permute(0, 2, 3, 1).float().cpu().numpy()
    labels = [torch.from_numpy(slic(picture, count, start_label=0)) for picture in pixels]
    return torch.stack(labels).to(images.device)


def averaged(masks: Tensor, segments: Tensor) -> Tensor:
    """The mean of each mask (N,H,W) over each of its segments (N,H,W), spread over the segment."""
    segments = segments.flatten(1)
    total = masks.new_zeros(len(masks), int(segments.max()) + 1)
    values = masks.flatten(1)
    sums = total.scatter_add(1, segments, values)
    sizes = total.scatter_add(1, segments, torch.ones_like(values))
    return (sums / sizes.clamp(min=1)).gather(1, segments).reshape(masks.shape)
