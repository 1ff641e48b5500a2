"""Sees each call of attention of a forward: fused, as ``nn.MultiheadAttention``, or as softmax and matrix product."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwise.classifiers.taps import layer_of
from maskwise.core.own_thread import in_this_thread
from maskwise.explainers.attention.calls import AttentionCall
from maskwise.explainers.backward_rules import BackwardRules, spelling
from maskwise.explainers.multi_head import projected_heads

# What networks do to logits before the softmax and to weights after it; talking heads (CaiT) mix by permute and linear.
CARRIES = (
    "to", "float", "half", "type_as", "contiguous", "dropout", "permute", "transpose", "linear", "add", "sub", "mul",
    "div", "masked_fill", "clone",
)  # fmt: skip
Changes = Callable[[str, Tensor], Tensor | None]
_MULTI_HEAD = inspect.signature(F.multi_head_attention_forward)


@dataclass(eq=False)
class _Product:
    """Of a tensor on its way from q k^T to A V: where it comes from, and whether it has passed the softmax."""

    tensor: Tensor  # kept, so that its identity stays its own
    query: Tensor | None
    key: Tensor | None
    weights: bool
    softmax: int = 0  # which one of the forwards', where it has passed one


class AttentionRecorder(BackwardRules):
    """While open, files the attention calls of forwards in ``calls``, in their order; the network's answer stays.

    An output that no gradient would reach becomes a leaf to be differentiated by, where gradients are on.

    Args:
        steps: names of layers, one after another, that calls are filed under.
        only: names of the steps whose calls are wanted, None among them for calls outside of all; all, if left out.
        rows: how many pictures a forward has.
        leave: called with the name and output (N,…) of each step as it ends; it may give another output.

    Attributes:
        calls: those of the forwards since it was opened.
        unmet: of softmaxes that gave weights between places, and met no values: the step of each, by its number.
        rows: may be changed while it is open, by what puts other pictures behind a step.
    """

    def __init__(
        self,
        steps: Sequence[str],
        only: Collection[str | None] | None = None,
        rows: int = 1,
        leave: Changes | None = None,
    ) -> None:
        super().__init__(
            {
                "scaled_dot_product_attention": self.fused,
                "multi_head_attention_forward": self.multi_head,
                "softmax": self.softmax,
                "matmul": self.matmul,
                "bmm": self.matmul,
            }
        )
        self.steps, self.only, self.rows, self.leave = tuple(steps), only, rows, leave
        self.calls: list[AttentionCall] = []
        self.unmet: dict[int, str | None] = {}
        self._softmaxes = 0
        self.layer: str | None = None
        self._products: dict[int, _Product] = {}

    @contextmanager
    def watching(self, module: nn.Module) -> Iterator[AttentionRecorder]:
        """Open, with hooks on the steps of ``module``; both end together, also when the network raises."""
        counts, handles = Counter[nn.Module](), []
        names: dict[nn.Module, dict[int | None, str]] = {}
        for name in self.steps:
            layer, call = layer_of(module, name)
            names.setdefault(layer, {})[call] = name

        def begin(layer: nn.Module, _: Any) -> None:
            counts[layer] += 1
            self.layer = names[layer].get(counts[layer], names[layer].get(None))

        def end(layer: nn.Module, _: Any, output: Any) -> Any:
            name, self.layer = self.layer, None
            self._products.clear()
            return None if self.leave is None or name is None else self.leave(name, output)

        try:
            for layer in names:
                handles.append(layer.register_forward_pre_hook(in_this_thread(begin)))
                handles.append(layer.register_forward_hook(in_this_thread(end)))
            with self:
                yield self
        finally:
            for handle in handles:
                handle.remove()
            self._products.clear()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = super().__torch_function__(func, types, args, kwargs)
        product = self._products.get(id(args[0])) if args else None
        if product is not None and isinstance(result, Tensor) and spelling(func)[0] in CARRIES:
            self._products[id(result)] = replace(product, tensor=result)
        return result

    # ---- the three ways to write attention --------------------------------------------------------------------

    def fused(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Any:
        if not self.wanted:
            return NotImplemented
        output = F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
        if enable_gqa:  # groups of heads share keys and values
            shared = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(shared, -3), value.repeat_interleave(shared, -3)
        if is_causal:
            attn_mask = query.new_ones(query.shape[-2], key.shape[-2], dtype=torch.bool).tril()
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        return self.file(output, value, query, key, mask=_added(attn_mask, keeps=True), scale=scale)

    def multi_head(self, *args: Any, **kw: Any) -> Any:
        """``nn.MultiheadAttention`` taken apart; with extra keys it is left alone, and not seen."""
        if not self.wanted:
            return NotImplemented
        bound = _MULTI_HEAD.bind(*args, **kw)
        bound.apply_defaults()
        a = bound.arguments
        extra = a["bias_k"] is not None or a["static_k"] is not None or a["static_v"] is not None or a["add_zero_attn"]
        if a["query"].ndim != 3 or extra:
            return NotImplemented
        inputs = (a["query"], a["key"], a["value"])
        separate = (a["q_proj_weight"], a["k_proj_weight"], a["v_proj_weight"])
        weights = separate if a["use_separate_proj_weight"] else a["in_proj_weight"].chunk(3)
        q, k, v = projected_heads(inputs, a["num_heads"], weights, a["in_proj_bias"])
        mask, padding = _added(a["attn_mask"], keeps=False), _added(a["key_padding_mask"], keeps=False)
        if mask is not None and mask.ndim == 3:
            mask = mask.unflatten(0, (len(q), -1))
        if padding is not None:
            padding = padding[:, None, None]
            mask = padding if mask is None else mask + padding
        dropout = a["dropout_p"] if a["training"] else 0.0
        seen = F.scaled_dot_product_attention(q, k, v, mask, dropout)
        seen = self.file(seen, v, q, k, mask=mask, scale=q.shape[-1] ** -0.5)
        result = F.linear(seen.permute(2, 0, 1, 3).flatten(2), a["out_proj_weight"], a["out_proj_bias"])
        if not a["need_weights"]:
            return result, None
        weights = self.calls[-1].weights().to(result.dtype)
        return result, weights.mean(1) if a["average_attn_weights"] else weights

    def softmax(self, input: Tensor, *args: Any, **kw: Any) -> Any:
        axis = kw.get("dim", args[0] if args else None)
        if not self.wanted or input.ndim < 3 or axis not in (-1, input.ndim - 1):
            return NotImplemented
        weights = F.softmax(input, axis, dtype=kw.get("dtype"))
        before = self._products.get(id(input))
        query, key = (None, None) if before is None else (before.query, before.key)
        self._softmaxes += 1
        if query is not None or weights.shape[-2] == weights.shape[-1]:
            self.unmet[self._softmaxes] = self.layer
        self._products[id(weights)] = _Product(weights, query, key, weights=True, softmax=self._softmaxes)
        return weights

    def matmul(self, input: Tensor, other: Tensor) -> Any:
        if not self.wanted or input.ndim < 3 or other.ndim != input.ndim:
            return NotImplemented
        output = torch.matmul(input, other)
        product = self._products.get(id(input))
        if product is not None and product.weights:
            self.unmet.pop(product.softmax, None)
            return self.file(output, other, product.query, product.key, given=input)
        self._products[id(output)] = _Product(output, input, other.transpose(-2, -1), weights=False)
        return output

    # ---- filing -----------------------------------------------------------------------------------------------

    @property
    def wanted(self) -> bool:
        return self.only is None or self.layer in self.only

    def file(
        self,
        output: Tensor,
        value: Tensor,
        query: Tensor | None,
        key: Tensor | None,
        *,
        given: Tensor | None = None,
        mask: Tensor | None = None,
        scale: float = 1.0,
    ) -> Tensor:
        """Files a call; gives its output for the network to go on with."""
        goes_on = output
        if torch.is_grad_enabled():
            if not output.requires_grad:
                output = output.detach().requires_grad_(True)
            goes_on = output.clone()  # which the network may overwrite
        q, k, v, a, m = (None if x is None else x.detach() for x in (query, key, value, given, mask))
        assert v is not None
        self.calls.append(AttentionCall(self.layer, self.rows, output, v, q, k, a, m, scale))
        return goes_on


def _added(mask: Tensor | None, keeps: bool) -> Tensor | None:
    """A mask as what is added to the softmax's logits; of a bool one, True keeps a place or hides it."""
    if mask is None or mask.dtype != torch.bool:
        return mask
    return torch.zeros(mask.shape, device=mask.device).masked_fill(~mask if keeps else mask, -torch.inf)
