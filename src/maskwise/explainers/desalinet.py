"""DeSaliNet: the reversed network with ReLU masks, and max-pooling reversed in one of two ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.explainers.backward_rules import Handler
from maskwise.explainers.base import methods
from maskwise.explainers.guided import RectifiedGradient

Pair = tuple[int, int]


@methods.register(
    "desalinet",
    family="gradients",
    paper="Mahendran and Vedaldi 2016",
    needs_gradients=True,
    needs_target=True,
    random=False,
    cost="1 forward, 1 backward",
)
class DeSaliNet(RectifiedGradient):
    """max over colours of |g|: ReLU's backward is g * (g > 0) * (x > 0) (Mahendran and Vedaldi 2016).

    Args:
        classifier: what is explained.
        pooling: how max-pooling is reversed. "switches": to where the maximum was, its ordinary backward; the map is
            then that of guided backpropagation. "centre": to the centre of each window, so that the map no longer
            holds the picture's own switches. A network without max-pooling gives the same for both.
        reduce: as for guided backpropagation.

    Raises:
        InputError: unknown option; at the first picture, for a network without any ReLU.
    """

    name = "desalinet"

    def __init__(
        self,
        classifier: Classifier,
        pooling: Literal["switches", "centre"] = "switches",
        reduce: Literal["max", "sum", "positive"] = "max",
    ) -> None:
        super().__init__(classifier, reduce)
        if pooling not in ("switches", "centre"):
            raise InputError(f"pooling is switches or centre, not {pooling!r}")
        self.pooling = pooling

    def handlers(self) -> Mapping[str, Handler]:
        if self.pooling == "switches":
            return {}
        return {"max_pool2d": max_pool2d, "adaptive_max_pool2d": adaptive_max_pool2d}


class _Unpool(torch.autograd.Function):
    """Gives ``pooled`` as the result of pooling x; backward puts each gradient at a fixed pixel of its window."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, pooled: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.size = x.shape
        return pooled.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        values = gradients[0].flatten(-2)
        back = values.new_zeros((*values.shape[:-1], ctx.size[-2] * ctx.size[-1]))
        # Neighbouring windows can share a centre at the border.
        back.scatter_add_(-1, ctx.saved_tensors[0].expand_as(values), values)
        return back.reshape(ctx.size), None, None


def max_pool2d(
    input: Tensor,
    kernel_size: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Any:
    """``F.max_pool2d`` whose backward unpools to the centres."""
    with torch.no_grad():
        pooled, indices = F.max_pool2d(input, kernel_size, stride, padding, dilation, ceil_mode, return_indices=True)
    kernel, pad, step = _pair(kernel_size), _pair(padding), _pair(dilation)
    # torch takes an absent or an empty stride for the kernel's size
    stride = kernel if stride is None or stride == [] or stride == () else _pair(stride)
    centres = [
        torch.arange(pooled.shape[d - 2], device=input.device) * stride[d] - pad[d] + (kernel[d] - 1) // 2 * step[d]
        for d in (0, 1)
    ]
    result = _unpool(input, pooled, centres)
    return (result, indices) if return_indices else result


def adaptive_max_pool2d(input: Tensor, output_size: Any, return_indices: bool = False) -> Any:
    """``F.adaptive_max_pool2d`` whose backward unpools to the centres."""
    with torch.no_grad():
        pooled, indices = F.adaptive_max_pool2d(input, output_size, return_indices=True)
    centres = []
    for d in (-2, -1):
        size, count = input.shape[d], pooled.shape[d]
        i = torch.arange(count, device=input.device)
        centres.append((i * size // count + -(-(i + 1) * size // count) - 1) // 2)  # windows [floor, ceil)
    result = _unpool(input, pooled, centres)
    return (result, indices) if return_indices else result


def _unpool(x: Tensor, pooled: Tensor, centres: list[Tensor]) -> Tensor:
    rows, columns = (c.clamp(0, x.shape[d] - 1) for c, d in zip(centres, (-2, -1), strict=True))
    places = (rows[:, None] * x.shape[-1] + columns).flatten()
    return _Unpool.apply(x, pooled, places)  # type: ignore[no-any-return]


def _pair(value: Any) -> Pair:
    values = (value,) if isinstance(value, int) else tuple(value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])
