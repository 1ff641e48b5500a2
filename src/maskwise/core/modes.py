"""Train and eval mode, for a while: each module's own flag comes back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """While open, all parts of ``modules`` are in eval mode; after, also after an error, each part is as it was.

    ``module.eval()`` and ``module.train(was)`` would not do: they set one flag on every part, while a decoder may learn
    on a frozen encoder, and an encoder's batch norm that is put into train mode changes its running statistics.

    Example:
        >>> net = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout()).train()
        >>> _ = net[0].eval()
        >>> with eval_mode(net):
        ...     print(net.training, net[1].training)
        False False
        >>> net.training, net[0].training, net[1].training
        (True, False, True)
    """
    flags = [(part, part.training) for module in modules for part in module.modules()]
    for module in modules:
        module.eval()
    try:
        yield
    finally:
        for part, flag in flags:
            part.training = flag
