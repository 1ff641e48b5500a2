"""Gaussian blur as a convolution of each axis."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def gaussian_blur(images: Tensor, size: int, sigma: float) -> Tensor:
    """Blur of (N,C,H,W) by a kernel of ``size`` (odd) pixels, the border mirrored as OpenCV does (reflect-101).

    A picture smaller than half the kernel, which cannot be mirrored, repeats its border instead. It is computed in
    float32 whatever autocast asks for and returned in the type of ``images``.
    """
    reach = size // 2
    offsets = torch.arange(-reach, reach + 1, device=images.device, dtype=torch.float32)
    kernel = torch.softmax(-(offsets**2) / (2 * sigma**2), 0)
    mode = "reflect" if reach < min(images.shape[-2:]) else "replicate"
    channels, blurred = images.shape[1], images.float()
    # Not in bfloat16: half of a wide kernel's weights would round alike, and oneDNN never returns from planning a
    # depthwise convolution of 15 pixels or more in it, channels last, on a CPU with AVX512-BF16.
    with torch.autocast(images.device.type, enabled=False):
        for shape, pad in (((1, 1, 1, -1), (reach, reach, 0, 0)), ((1, 1, -1, 1), (0, 0, reach, reach))):
            weight = kernel.reshape(shape).expand(channels, 1, *kernel.reshape(shape).shape[2:])
            blurred = F.conv2d(F.pad(blurred, pad, mode=mode), weight, groups=channels)
    return blurred.to(images.dtype)
