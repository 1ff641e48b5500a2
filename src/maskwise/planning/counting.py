"""Counting what a call does: FLOPs, forwards, and what it keeps for the backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count

from maskwise.core.own_thread import in_this_thread


@dataclass(frozen=True)
class Count:
    """Of one call.

    Attributes:
        flops: multiplications and additions of matrix products and convolutions, forwards and backwards.
        forwards: pictures that went through the classifier.
        saved: bytes kept for backwards, weights not counted; all graphs of the call together.
    """

    flops: float
    forwards: float
    saved: float

    def of_one(self, pictures: int) -> Count:
        """Of one of several pictures."""
        return Count(self.flops / pictures, self.forwards / pictures, self.saved / pictures)


def convolution_backward_flops(
    grad_shape: list[int],
    x_shape: list[int],
    w_shape: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    output_mask: list[bool],
    out_shape: Any = None,
) -> int:
    """FLOPs of a convolution's backward: the input's gradient and the weight's each take what the forward took.

    Each product of an input and a weight in the forward, 2 B H W C_out C_in/groups k^2 FLOPs with H and W of the
    output, gives one product in either gradient. torch's own formula leaves ``groups`` out of the weight's.

    Args:
        grad_shape, x_shape, w_shape: of the output's gradient, the input (B,C_in,...) and the weight.
        transposed: is it a transposed convolution?
        output_mask: are the gradients of input, weight and bias asked for? The bias's is a sum, which is not counted.
    """
    forward: int = conv_flop_count(x_shape, w_shape, grad_shape, transposed=transposed)
    return forward * sum(output_mask[:2])


FORMULAS = {torch.ops.aten.convolution_backward: convolution_backward_flops}


def counted(call: Callable[[], object], network: nn.Module) -> Count:
    """Runs ``call`` once and counts.

    Args:
        network: the classifier's module; its forwards are counted.
    """
    weights = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, int] = {}
    forwards = 0

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    def seen(_: nn.Module, given: tuple[Tensor, ...]) -> None:
        nonlocal forwards
        forwards += len(given[0])

    handle = network.register_forward_pre_hook(in_this_thread(seen))
    try:
        with (
            FlopCounterMode(display=False, custom_mapping=FORMULAS) as flops,
            torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        ):
            call()
    finally:
        handle.remove()
    return Count(flops.get_total_flops(), forwards, sum(kept.values()))


def size_of(state: Any) -> int:
    """Bytes of all tensors in nested dicts and lists."""
    if isinstance(state, Tensor):
        return state.numel() * state.element_size()
    if isinstance(state, dict):
        return sum(map(size_of, state.values()))
    return sum(map(size_of, state)) if isinstance(state, (list, tuple)) else 0
