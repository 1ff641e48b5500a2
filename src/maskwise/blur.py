"""Gaussian blur as a convolution of each axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(images: Tensor, size: int, sigma: float) -> Tensor:
    """Blur of (N,C,H,W) by a kernel of ``size`` (odd) pixels, the border mirrored as OpenCV does (reflect-101).

    A picture smaller than half the kernel, which cannot be mirrored, repeats its border instead.
    """
    reach = size // 2
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=images.dtype)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), 0)
    mode = "reflect" if reach < min(images.shape[-2:]) else "replicate"
    channels = images.shape[1]
    for shape, pad in (((1, 1, 1, -1), (reach, reach, 0, 0)), ((1, 1, -1, 1), (0, 0, reach, reach))):
        weight = kernel.reshape(shape).expand(channels, 1, *kernel.reshape(shape).shape[2:])
        images = F.conv2d(F.pad(images, pad, mode=mode), weight, groups=channels)
    return images
