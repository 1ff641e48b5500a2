"""Two pictures in one: what a masker must tell apart, where its teacher only ever saw one of them."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

SIDES = (0.35, 0.7)  # of the pasted picture, where the whole one's is 1


def pasted(
    images: Tensor, maps: Tensor, labels: Tensor, share: float, draws: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Pastes smaller copies of other pictures of the batch into some pictures, and their maps along.

    The class of the whole picture is wanted nowhere on the pasted one, and the pasted one's class nowhere else: so a
    masker learns to follow the class that is asked for, and that objects may be small. CutMix (Yun et al. 2019) pastes
    so, for classifiers and without maps.

    Args:
        images: (B,c,H,W).
        maps: (B,H,W) in [0,1], what is wanted of each picture for its label.
        labels: (B,).
        share: of the pictures, in [0,1], into which one is pasted; the first ones of the batch.
        draws: of the size, one for the batch, and of the places.

    Returns:
        Pictures (B,c,H,W), maps (B,2,H,W) and their classes (B,2). A picture without another in it has its class twice.
    """
    count = int(share * len(images) + 0.5) if len(images) > 1 else 0
    classes, wanted = labels[:, None].repeat(1, 2), maps[:, None].repeat(1, 2, 1, 1)
    if not count:
        return images, wanted, classes
    height, width = images.shape[-2:]
    size, *places = torch.rand(1 + 2 * count, generator=draws).tolist()
    scale = SIDES[0] + size * (SIDES[1] - SIDES[0])
    tall, wide = max(round(scale * height), 1), max(round(scale * width), 1)
    free = torch.tensor([[height - tall + 1], [width - wide + 1]], device=images.device)
    top, left = torch.tensor(places, device=images.device).view(2, count).mul(free).long()
    other = (torch.arange(count, device=images.device) + len(images) // 2) % len(images)
    both = torch.cat([images[other], maps[other, None]], 1)
    small = F.interpolate(both.float(), (tall, wide), mode="bilinear", align_corners=False, antialias=True).to(both)
    # Each row and column of the picture asks which one of the small picture lies on it.
    down = torch.arange(height, device=images.device) - top[:, None]
    across = torch.arange(width, device=images.device) - left[:, None]
    there = ((down >= 0) & (down < tall))[:, :, None] & ((across >= 0) & (across < wide))[:, None]
    rows = torch.arange(count, device=images.device)[:, None, None]
    laid = small[rows, :, down.clamp(0, tall - 1)[:, :, None], across.clamp(0, wide - 1)[:, None]].permute(0, 3, 1, 2)

    images = images.clone()
    images[:count] = torch.where(there[:, None], laid[:, :-1], images[:count])
    theirs = labels[other]
    same = (theirs == labels[:count])[:, None, None]
    of_whole, of_pasted = maps[:count].masked_fill(there, 0), laid[:, -1].masked_fill(~there, 0)
    classes[:count, 1] = theirs
    wanted[:count] = torch.stack([of_whole + of_pasted * same, of_pasted + of_whole * same], 1)
    return images, wanted, classes
