"""A part of a batch that acts as the whole: the batch's random draws, and its statistics over all processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from maskwise.core.precision import HALVES

LIKE: dict[Any, Callable[..., Tensor]] = {torch.rand_like: torch.rand, torch.randn_like: torch.randn}


@dataclass(frozen=True)
class MicroBatch:
    """Some pictures of a step's batch.

    Attributes:
        images: (n,3,S,S), on the device.
        labels: (n,), or (n,K) sets of findings.
        places: where in the whole batch they stand.
        whole: pictures of the whole batch, over all processes.
    """

    images: Tensor
    labels: Tensor
    places: range
    whole: int

    @property
    def weight(self) -> float:
        """Its share of a mean over the whole batch."""
        return len(self.places) / self.whole


def portions(places: range, count: int) -> list[range]:
    """``places`` in ``count`` runs with lengths that differ by one at most.

    Example:
        >>> [list(p) for p in portions(range(1, 8, 2), 3)]
        [[1, 3], [5], [7]]
    """
    ends = [0]
    for k in range(count):
        ends.append(ends[-1] + len(places) // count + (k < len(places) % count))
    return [places[a:b] for a, b in pairwise(ends)]


class AsTheWhole(TorchFunctionMode):
    """While open, a part of a batch sees what it would see inside the whole one.

    Random draws that have one row a picture are drawn for the whole batch and cut: all processes and all micro-batches
    begin at the same state of the generator. Batch norm in train mode takes its statistics over all processes, as
    SyncBatchNorm does, with its kernels on CUDA; it is intercepted here rather than swapped, since the network
    may be of any library, and its weights are those of snapshots, too. Statistics of one micro-batch know nothing of
    the next.

    Args:
        part: its rows.
        processes: how many there are.
    """

    def __init__(self, part: MicroBatch, processes: int) -> None:
        super().__init__()
        self.places, self.whole, self.processes = part.places, part.whole, processes

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is F.batch_norm and self.processes > 1:
            return batch_norm(*args, **kwargs)
        if func is F.dropout and _given(args, kwargs, 2, "training", True):
            return self._dropout(args[0], _given(args, kwargs, 1, "p", 0.5))
        if func is Tensor.bernoulli_ and self._mine(args[0].shape):
            return args[0].copy_(
                self._cut(args[0].new_empty(self._wide(args[0].shape)).bernoulli_(*args[1:], **kwargs))
            )
        if kwargs.get("generator") is None:
            if func in LIKE and self._mine(args[0].shape):
                made = {"dtype": args[0].dtype, "device": args[0].device} | kwargs
                return self._cut(LIKE[func](self._wide(args[0].shape), **made))
            if func in (torch.rand, torch.randn):
                shape = kwargs.pop("size", args[0] if args and isinstance(args[0], Sequence) else args)
                return self._drawn(func, shape, kwargs)
            if func is torch.randint:
                *bounds, shape = args if "size" not in kwargs else (*args, kwargs.pop("size"))
                return self._drawn(partial(func, *bounds), shape, kwargs)
        return func(*args, **kwargs)

    def _mine(self, shape: Sequence[int]) -> bool:
        """Has it one row a picture, or one a picture and side of the mask, side after side?"""
        return len(shape) > 0 and shape[0] > 0 and shape[0] % len(self.places) == 0

    def _wide(self, shape: Sequence[int]) -> tuple[int, ...]:
        return (shape[0] // len(self.places) * self.whole, *shape[1:])

    def _cut(self, rows: Tensor) -> Tensor:
        sides = rows.unflatten(0, (-1, self.whole))
        mine: Tensor = sides[:, self.places.start : self.places.stop : self.places.step].flatten(0, 1).contiguous()
        return mine

    def _drawn(self, draw: Callable[..., Tensor], shape: Sequence[int], kwargs: dict[str, Any]) -> Tensor:
        return self._cut(draw(self._wide(shape), **kwargs)) if self._mine(shape) else draw(shape, **kwargs)

    def _dropout(self, x: Tensor, p: float) -> Tensor:
        """Its draws are kept as torch draws them on a CPU; on CUDA they are others, with the same chances."""
        if not self._mine(x.shape):
            return F.dropout(x, p)
        kept = x.new_empty(self._wide(x.shape)).bernoulli_(1 - p)
        return x * self._cut(kept) / max(1 - p, 1e-12)


def _given(args: Sequence[Any], kwargs: dict[str, Any], place: int, name: str, otherwise: Any) -> Any:
    return args[place] if len(args) > place else kwargs.get(name, otherwise)


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient, since what it gives enters the loss of each of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        dist.all_reduce(total)
        return total


def summed(x: Tensor) -> Tensor:
    """The sum of ``x`` over all processes, with gradients."""
    return cast(Tensor, _Sum.apply(x))


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """``torch.nn.functional.batch_norm`` over the batch of all processes together (Ioffe & Szegedy 2015)."""
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    if x.is_cuda and weight is not None:
        from torch.nn.modules._functions import SyncBatchNorm

        return cast(
            Tensor,
            SyncBatchNorm.apply(
                x, weight, bias, running_mean, running_var, eps, momentum, dist.group.WORLD, dist.get_world_size()
            ),
        )
    values, others = (
        x.float() if x.dtype in HALVES else x,
        [d for d in range(x.ndim) if d != 1],
    )
    shape = [1, -1] + [1] * (x.ndim - 2)
    count = values.new_tensor([values.numel() / values.shape[1]])
    *totals, count = summed(torch.cat([values.sum(others), count])).split([values.shape[1], 1])
    mean, count = totals[0] / count.detach(), count.detach()
    centred = values - mean.reshape(shape)
    var = summed(centred.square().sum(others)) / count
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
            running_var.lerp_((var.detach() * count / (count - 1)).to(running_var.dtype), momentum)
    normal = centred * (var + eps).rsqrt().reshape(shape)
    if weight is not None:
        normal = normal * weight.reshape(shape)
    if bias is not None:
        normal = normal + bias.reshape(shape)
    found: Tensor = normal.to(x.dtype)
    return found
