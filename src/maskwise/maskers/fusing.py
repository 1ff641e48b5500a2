"""Batch norm folded into the convolution before it, for networks that no longer learn."""

from __future__ import annotations

from typing import TypeVar

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

M = TypeVar("M", bound=nn.Module)


def fuse(network: M) -> M:
    """Folds every convolution and batch norm that follow each other in a ``Sequential``, in place.

    The network must be in eval mode; its outputs stay the same but for rounding, and it is not to be trained again.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.ReLU()).eval()
        >>> x = torch.rand(1, 3, 2, 2)
        >>> before = net(x)
        >>> torch.allclose(fuse(net)(x), before, atol=1e-6), len(net)
        (True, 2)
    """
    for chain in [m for m in network.modules() if isinstance(m, nn.Sequential)]:
        parts: list[nn.Module] = []
        for part in chain:
            last = parts[-1] if parts else None
            if isinstance(part, nn.BatchNorm2d) and isinstance(last, (nn.Conv2d, nn.ConvTranspose2d)):
                parts[-1] = fuse_conv_bn_eval(last, part, transpose=isinstance(last, nn.ConvTranspose2d))
            else:
                parts.append(part)
        if len(parts) < len(chain):
            for k in reversed(range(len(chain))):
                del chain[k]
            chain.extend(parts)
    return network
