"""Relevance of attention: the softmax is a constant, so that values get it and queries and keys none.

With ``Epsilon.softmax_gradient`` it is not: attention is then taken apart into products, which halve, and the softmax.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.explainers.multi_head import projected_heads
from maskwise.explainers.relevance.rule_base import RuleBase, tracks
from maskwise.explainers.relevance.sums import Epsilon, Link


class Attention(RuleBase):
    """Softmax, scaled dot products and ``nn.MultiheadAttention``."""

    def softmax(self, input: Any, *args: Any, **kw: Any) -> Any:
        if not tracks(input) or self.softmax_gradient:
            return NotImplemented
        return F.softmax(input.detach(), *args, **kw)

    @property
    def softmax_gradient(self) -> bool:
        return isinstance(self.rule, Epsilon) and self.rule.softmax_gradient

    def attention(self, query: Tensor, key: Tensor, value: Tensor, *args: Any, **kw: Any) -> Any:
        if self.softmax_gradient and tracks(value):
            with self:  # each part goes through its own rule
                return _taken_apart(query, key, value, *args, **kw)
        query, key = query.detach(), key.detach()

        def compute(v: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, key, v, *args, **kw)

        return self.share(Link(compute, compute), value) if tracks(value) else compute(value)

    def multi_head_attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        embed_dim_to_check: int,
        num_heads: int,
        in_proj_weight: Tensor | None,
        in_proj_bias: Tensor | None,
        bias_k: Tensor | None,
        bias_v: Tensor | None,
        add_zero_attn: bool,
        dropout_p: float,
        out_proj_weight: Tensor,
        out_proj_bias: Tensor | None,
        training: bool = True,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        use_separate_proj_weight: bool = False,
        q_proj_weight: Tensor | None = None,
        k_proj_weight: Tensor | None = None,
        v_proj_weight: Tensor | None = None,
        static_k: Tensor | None = None,
        static_v: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> Any:
        """``nn.MultiheadAttention`` taken apart; with masks or extra tokens it keeps its gradient."""
        extras = (bias_k, bias_v, key_padding_mask, attn_mask, static_k, static_v)
        if not tracks(value) or query.ndim != 3 or add_zero_attn or any(e is not None for e in extras):
            return NotImplemented
        if in_proj_weight is not None and not use_separate_proj_weight:
            projections: Sequence[Any] = in_proj_weight.chunk(3)
        else:
            projections = (q_proj_weight, k_proj_weight, v_proj_weight)
        if not self.softmax_gradient:
            query, key = query.detach(), key.detach()
        inputs = (query, key, value)
        with self:  # the parts of it go through their own rules
            q, k, v = projected_heads(inputs, num_heads, projections, in_proj_bias)
            seen = F.scaled_dot_product_attention(q, k, v).permute(2, 0, 1, 3).flatten(2)
            result = F.linear(seen, out_proj_weight, out_proj_bias)
        if not need_weights:
            return result, None
        weights = (q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5).softmax(-1)
        return result, weights.mean(1) if average_attn_weights else weights


def _taken_apart(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """softmax(scale q k^T + mask) v by plain operations; networks that are explained drop nothing out."""
    if enable_gqa:
        shared = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(shared, -3), value.repeat_interleave(shared, -3)
    logits = (query @ key.transpose(-2, -1)) * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        attn_mask = logits.new_ones(logits.shape[-2:], dtype=torch.bool).tril()
    if attn_mask is not None and attn_mask.dtype == torch.bool:
        logits = logits.masked_fill(~attn_mask, -torch.inf)
    elif attn_mask is not None:
        logits = logits + attn_mask
    return logits.softmax(-1) @ value
