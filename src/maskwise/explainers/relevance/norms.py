"""Relevance of normalisations: their scale is a constant (Ali et al. 2022)."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.explainers.relevance.rule_base import channels, tracks
from maskwise.explainers.relevance.sums import Pass, Signed
from maskwise.explainers.relevance.weighted import Weighted


class Norms(Weighted):
    """Layer, group, instance and RMS norm."""

    def layer_norm(
        self, input: Tensor, normalized_shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Any:
        if not tracks(input):
            return NotImplemented
        if isinstance(self.rule, Signed):
            return Pass.apply(input, lambda x: F.layer_norm(x, normalized_shape, weight, bias, eps))
        y = _standardised(input, tuple(range(-len(normalized_shape), 0)), eps)
        return self.stabilised(_scaled(y, weight, bias))

    def group_norm(
        self, input: Tensor, num_groups: int, weight: Any = None, bias: Any = None, eps: float = 1e-5
    ) -> Any:
        if not tracks(input):
            return NotImplemented
        if isinstance(self.rule, Signed):
            return Pass.apply(input, lambda x: F.group_norm(x, num_groups, weight, bias, eps))
        y = _standardised(input.reshape(len(input), num_groups, -1), (-1,), eps).reshape(input.shape)
        weight, bias = (None if p is None else channels(p, input.ndim - 2) for p in (weight, bias))
        return self.stabilised(_scaled(y, weight, bias))

    def instance_norm(
        self,
        input: Tensor,
        running_mean: Any = None,
        running_var: Any = None,
        weight: Any = None,
        bias: Any = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Any:
        if use_input_stats:
            return self.group_norm(input, input.shape[1], weight, bias, eps)
        return self.batch_norm(input, running_mean, running_var, weight, bias, eps=eps)

    def rms_norm(self, input: Tensor, normalized_shape: Any, weight: Any = None, eps: float | None = None) -> Any:
        if not tracks(input):
            return NotImplemented
        if isinstance(self.rule, Signed):
            return Pass.apply(input, lambda x: F.rms_norm(x, normalized_shape, weight, eps))
        squares = input.detach().square().mean(tuple(range(-len(normalized_shape), 0)), keepdim=True)
        scale = (squares + (torch.finfo(input.dtype).eps if eps is None else eps)).rsqrt()
        return self.stabilised(_scaled(input * scale, weight, None))


def _standardised(x: Tensor, dims: tuple[int, ...], eps: float) -> Tensor:
    """(x - mean) / std, linear in x: the std is a constant."""
    std = (x.detach().var(dims, correction=0, keepdim=True) + eps).sqrt()
    return (x - x.mean(dims, keepdim=True)) / std


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight.detach()
    return x if bias is None else x + bias.detach()
