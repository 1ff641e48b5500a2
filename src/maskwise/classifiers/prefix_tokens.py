"""Tokens that a network puts before those of its grid, where it says them: of class, distillation and registers."""

from __future__ import annotations

from torch import nn

# What timm, transformers, torchvision and DINOv2's own code call the learnt tokens that they put before the patches.
LEARNT = (
    "cls_token", "class_token", "class_embedding", "dist_token", "distillation_token", "reg_token", "register_tokens",
    "storage_tokens",
)  # fmt: skip


def prefix_tokens(module: nn.Module) -> int | None:
    """How many tokens come before those of the grid; None where the network doesn't say.

    timm's networks have the number, ``num_prefix_tokens``. Others have the tokens themselves as parameters (1,T,C), or
    (C,) of a single one, side by side in one module; those are counted.

    Example:
        >>> import torch
        >>> net = nn.Module()
        >>> net.cls_token, net.register_tokens = (nn.Parameter(torch.zeros(1, t, 8)) for t in (1, 4))
        >>> prefix_tokens(nn.Sequential(net)), prefix_tokens(nn.Linear(2, 2))
        (5, None)
    """
    for part in module.modules():
        said = vars(part).get("num_prefix_tokens")
        if isinstance(said, int):
            return said
    for part in module.modules():
        own = dict(part.named_parameters(recurse=False))
        there = [own[name] for name in LEARNT if name in own]
        if there:
            return sum(token.shape[-2] if token.ndim > 1 else 1 for token in there)
    return None
