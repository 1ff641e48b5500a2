"""Pixel-adaptive mask refinement: a mask runs along to neighbours of the same colour (Araslanov & Roth, CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

DILATIONS = (1, 2, 4, 8, 12, 24)
SHARE = 0.1  # of the local deviation, that differences of colour are measured by


def neighbours(maps: Tensor, dilations: Sequence[int] = DILATIONS, centre: bool = False) -> Tensor:
    """The 8 neighbours (N,8D,H,W) of each pixel of maps (N,H,W) at D distances; beyond the border its pixels go on.

    Args:
        centre: with the pixel itself, once for each distance: (N,9D,H,W).
    """
    kernels = torch.eye(9, dtype=maps.dtype, device=maps.device).reshape(9, 1, 3, 3)
    kernels = kernels if centre else torch.cat([kernels[:4], kernels[5:]])
    found = [F.conv2d(F.pad(maps[:, None], (d, d, d, d), mode="replicate"), kernels, dilation=d) for d in dilations]
    return torch.cat(found, 1)


def affinities(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """How alike each pixel's neighbours are to it, (N,8D,H,W) of sum 1, of images (N,c,H,W) in [0,1].

    a = softmax_j of -mean_c |I_i - I_j| / (0.1 s + 1e-8), s the standard deviation, in each channel, of all neighbours
    and, once for each distance, the pixel itself.
    """
    count, channels = images.shape[:2]
    flat = images.flatten(0, 1)
    apart = (neighbours(flat, dilations) - flat[:, None]).abs()
    seen = neighbours(flat, dilations, centre=True)
    centred = seen - seen.mean(1, keepdim=True)
    deviation = (centred.square().sum(1, keepdim=True) / (seen.shape[1] - 1)).sqrt()
    unlike = (apart / (SHARE * deviation + 1e-8)).unflatten(0, (count, channels)).mean(1)
    weights: Tensor = (-unlike).softmax(1)
    return weights


def pamr(masks: Tensor, images: Tensor, rounds: int = 10, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """m_i <- sum_j a_ij m_j, ``rounds`` times: each pixel takes the mean of neighbours like it.

    Args:
        masks: (N,H,W), or (N,K,H,W), K of each picture.
        images: (N,c,H,W) in [0,1].
    """
    if masks.ndim == 4:
        weights = affinities(images, dilations)
        return torch.stack([_rounds(mask, weights, rounds, dilations) for mask in masks.unbind(1)], 1)
    return _rounds(masks, affinities(images, dilations), rounds, dilations)


def _rounds(masks: Tensor, weights: Tensor, rounds: int, dilations: Sequence[int]) -> Tensor:
    for _ in range(rounds):
        masks = (neighbours(masks, dilations) * weights).sum(1)
    return masks
