"""Flags and hooks that are held down for a while, by several that share a network."""

from __future__ import annotations

import torch
from torch import nn

from maskwise.core.modes import eval_mode, without_backward_hooks


def test_backward_hooks_come_back_with_the_last_that_set_them_aside() -> None:
    """As two threads do that overlap: the first one is done while the second one still asks."""
    net, met = nn.Sequential(nn.Linear(2, 2), nn.ReLU()).train(), list[str]()
    handle = net[0].register_full_backward_hook(lambda *_: met.append("backward"))
    net[1].register_full_backward_pre_hook(lambda *_: met.append("before"))

    def asked() -> list[str]:
        met.clear()
        net(torch.ones(1, 2)).sum().backward()
        return sorted(met)

    assert asked() == ["backward", "before"]
    first, second, other = without_backward_hooks(net), without_backward_hooks(net), eval_mode(net)
    with other:  # which holds the same parts for another thing
        first.__enter__()
        assert asked() == []
        second.__enter__()
        first.__exit__(None, None, None)
        assert asked() == [], "the second one goes on without them"
        second.__exit__(None, None, None)
        assert asked() == ["backward", "before"]
    handle.remove()
    assert asked() == ["before"]
