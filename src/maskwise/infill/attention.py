"""Contextual attention: what is missing is pasted together from patches that are not (Yu et al. 2018, section 3.2)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

PATCH = 3  # side of the patches that are compared, in the halved features
SHARPNESS = 10.0  # softmax scale
EPSILON = 1e-4


def contextual_attention(features: Tensor, holes: Tensor) -> Tensor:
    """Features rebuilt from patches of their known part.

    The halved features' 3x3 patches are compared by cosine (normalised on the known side only), scores are
    propagated along rows and columns, and the softmax over known patches weighs the 4x4 patches of the full
    features that are laid at each place.

    Args:
        features: (N,C,h,w), h and w even.
        holes: (N,1,4h,4w), 1 = missing. A patch is known where its holes are exactly 0; so a soft hole that is
            nowhere 0 leaves none, and the answer is zeros. Each picture has its own; the PyTorch port takes the
            first one's for the whole batch.

    Returns:
        (N,C,h,w).
    """
    height, width = features.shape[-2] // 2, features.shape[-1] // 2
    small = features[..., ::2, ::2]
    patches = F.unfold(small, PATCH, padding=PATCH // 2)  # (N, 9C, L)
    keys = patches / (patches.square() + EPSILON).sum(1, keepdim=True).sqrt()
    scores = keys.transpose(1, 2) @ patches  # (N, known, wanted)
    scores = _propagated(scores, height, width)
    known = F.max_pool2d(holes[..., ::8, ::8].abs(), PATCH, 1, PATCH // 2).flatten(1) == 0
    scores = scores * known[:, :, None]
    weights = torch.softmax(scores * SHARPNESS, 1) * known[:, :, None]
    pasted = F.unfold(features, 4, padding=1, stride=2) @ weights
    return F.fold(pasted, features.shape[-2:], 4, padding=1, stride=2) / 4


def _propagated(scores: Tensor, height: int, width: int) -> Tensor:
    """Scores (N,L,L) summed with those of the neighbours shifted alike, left-right and then up-down.

    As in the released code neighbours are those in reading order, so a row's end touches the next row's beginning.
    """
    grid = (height, width, height, width)
    scores = _along_the_diagonal(scores).unflatten(2, grid[2:]).unflatten(1, grid[:2])
    columns = _along_the_diagonal(scores.permute(0, 2, 1, 4, 3).flatten(3).flatten(1, 2))
    columns = columns.unflatten(2, (width, height)).unflatten(1, (width, height))
    patches: Tensor = columns.permute(0, 2, 1, 4, 3).flatten(3).flatten(1, 2)
    return patches


def _along_the_diagonal(scores: Tensor) -> Tensor:
    """s[i-1,j-1] + s[i,j] + s[i+1,j+1], zero outside."""
    total = scores.clone()
    total[:, 1:, 1:] += scores[:, :-1, :-1]
    total[:, :-1, :-1] += scores[:, 1:, 1:]
    return total
