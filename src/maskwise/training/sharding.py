"""Fully sharded weights: each process holds a part of every large one and has the whole only while it is in use.

Gradients are asked for with ``torch.autograd.grad`` and past classifiers run by ``functional_call``, which torch's own
FSDP does not see: its hooks wait for ``backward``, and for its own parameters. Here a weight keeps its name and place,
and holds a piece; who reads it gets the whole, by a gather that is part of the graph and whose backward is the
reduce-scatter (Zhang et al. 2024, SimpleFSDP). So pieces are leaves like any other, and snapshots and momenta are
pieces by themselves.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.modules.conv import _ConvNd

LEAST = 4096  # numbers; to bring a smaller weight together takes longer than it spares


@dataclass(frozen=True)
class Layout:
    """How a weight is cut into pieces of one length, the last filled up with zeros.

    Attributes:
        shape: of the whole.
        last: do channels come last in memory?
        casts: is it read by nothing but a convolution or product, so that autocast may have it in its own type?
    """

    shape: torch.Size
    last: bool = False
    casts: bool = False

    @property
    def length(self) -> int:
        return -(-self.shape.numel() // dist.get_world_size())

    def flat(self, whole: Tensor) -> Tensor:
        """All numbers in a row, as they lie in memory."""
        return (whole.movedim(1, -1) if self.last else whole).reshape(-1)

    def cut(self, whole: Tensor) -> Tensor:
        """This process's piece (length,) of a tensor of the weight's shape."""
        flat = self.flat(whole)
        begin = self.length * dist.get_rank()
        piece = flat[begin : begin + self.length]
        return torch.cat([piece, piece.new_zeros(self.length - len(piece))])

    def shaped(self, flat: Tensor) -> Tensor:
        """The whole, from all pieces in a row."""
        flat = flat[: self.shape.numel()]
        if not self.last:
            return flat.view(self.shape)
        return flat.view(self.shape[0], *self.shape[2:], self.shape[1]).movedim(-1, 1)

    def join(self, piece: Tensor) -> Tensor:
        """The whole, from every process's piece; all of them must ask at the same point."""
        flat = piece.new_empty(self.length * dist.get_world_size())
        dist.all_gather_into_tensor(flat, piece.detach().contiguous())
        return self.shaped(flat)


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, piece: Tensor, layout: Layout) -> Tensor:
        ctx.layout, ctx.kind = layout, piece.dtype
        return layout.join(_cast(piece, layout))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # Summed in the weight's own type, as the gradients of whole weights are.
        whole, layout = gradients[0].to(ctx.kind), ctx.layout
        flat = layout.flat(whole)
        missing = layout.length * dist.get_world_size() - len(flat)
        piece = flat.new_empty(layout.length)
        dist.reduce_scatter_tensor(piece, torch.cat([flat, flat.new_zeros(missing)]))
        return piece, None


def _cast(piece: Tensor, layout: Layout) -> Tensor:
    kind = piece.device.type
    return piece.to(torch.get_autocast_dtype(kind)) if layout.casts and torch.is_autocast_enabled(kind) else piece


@dataclass
class Sharding:
    """The networks of one training whose weights are in pieces.

    Args:
        least: numbers of the smallest weight that is cut.
    """

    least: int = LEAST
    modules: list[nn.Module] = field(default_factory=list)
    layouts: dict[nn.Parameter, Layout] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # By address, what was brought together and is in use: the whole, and from which piece.
        self._wholes: dict[int, tuple[weakref.ref[Tensor], Tensor, Layout]] = {}

    def cut(self, network: nn.Module) -> None:
        """From now on every process holds a piece of each large weight, and weights of the same names are pieces."""
        for module in network.modules():
            named = {k: w for k, w in module._parameters.items() if w is not None and w.numel() >= self.least}
            if not named or module in self.modules:
                continue
            for name, weight in named.items():
                if weight not in self.layouts:
                    last = weight.ndim == 4 and weight.is_contiguous(memory_format=torch.channels_last)
                    casts = isinstance(module, (nn.Linear, _ConvNd)) and name == "weight"
                    self.layouts[weight] = Layout(weight.shape, last, casts)
                    weight.data = self.layouts[weight].cut(weight.data)
            module.__dict__["_pieces"] = self, {name: self.layouts[weight] for name, weight in named.items()}
            module.__class__ = _reading(type(module), tuple(named))  # type: ignore[arg-type]
            self.modules.append(module)

    def join(self) -> None:
        """Every process has whole weights again."""
        for module in self.modules:
            module.__class__ = type(module).__bases__[0]
            del module.__dict__["_pieces"]
        for weight, layout in self.layouts.items():
            weight.data = layout.join(weight.data)
        self.modules.clear()
        self.layouts.clear()

    def whole(self, piece: Tensor, layout: Layout) -> Tensor:
        """A weight that is about to be used."""
        whole = cast(Tensor, _Join.apply(piece, layout))
        if torch.is_grad_enabled():
            self._wholes[whole.untyped_storage().data_ptr()] = weakref.ref(whole), piece, layout
        return whole

    @contextmanager
    def forgetting(self) -> Iterator[None]:
        """While open, a graph keeps pieces where it would keep whole weights, and brings them together in backward."""
        try:
            with saved_tensors_hooks(self._packed, self._unpacked):
                yield
        finally:
            self._wholes.clear()

    def _packed(self, saved: Tensor) -> Any:
        whole, piece, layout = self._wholes.get(saved.untyped_storage().data_ptr(), (lambda: None, saved, None))
        if layout is None or whole() is None:  # of no weight, or an address that was taken over by something else
            return saved
        place = saved.shape, saved.stride(), saved.storage_offset()
        return piece.detach(), piece._version, layout, saved.dtype, place

    def _unpacked(self, packed: Any) -> Tensor:
        if isinstance(packed, Tensor):
            return packed
        piece, version, layout, kind, place = packed
        if piece._version != version:
            raise RuntimeError("a weight was changed between the forward and the backward that needs it")
        return cast(Tensor, layout.join(piece.to(kind)).as_strided(*place))

    # ---- states, whole and in pieces ----------------------------------------------------------------------------

    def joined_state(self, network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """A state of the network, its own or that of a snapshot, with whole weights, in memory of the CPU."""
        return {key: self._joined(value, layout) for key, value, layout in self._named(network, state)}

    def cut_state(self, network: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The reverse, on the device of the network."""
        device = next(network.parameters()).device
        named = self._named(network, state)
        return {key: (v if layout is None else layout.cut(v)).to(device) for key, v, layout in named}

    def joined_optimiser(self, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """An optimiser's state, in which what has a weight's shape is whole."""
        return self._optimiser(optimiser, state, lambda value, layout: self._joined(value, layout))

    def cut_optimiser(self, optimiser: torch.optim.Optimizer, state: dict[str, Any]) -> dict[str, Any]:
        """The reverse."""
        return self._optimiser(optimiser, state, lambda value, layout: layout.cut(value))

    def _named(self, network: nn.Module, state: Mapping[str, Tensor]) -> Iterable[tuple[str, Tensor, Layout | None]]:
        weights = dict(network.named_parameters(remove_duplicate=False))
        return [(key, value, self.layouts.get(weights.get(key))) for key, value in state.items()]  # type: ignore[arg-type]

    def _joined(self, value: Tensor, layout: Layout | None) -> Tensor:
        return value if layout is None else layout.join(value).cpu()

    def _optimiser(self, optimiser: torch.optim.Optimizer, state: dict[str, Any], change: Any) -> dict[str, Any]:
        weights = [weight for group in optimiser.param_groups for weight in group["params"]]
        changed = {}
        for number, values in state["state"].items():
            layout = self.layouts.get(weights[number])
            changed[number] = {
                name: change(value, layout)
                if layout is not None and isinstance(value, Tensor) and value.ndim
                else value
                for name, value in values.items()
            }
        return state | {"state": changed}


@lru_cache
def _reading(kind: type[nn.Module], names: tuple[str, ...]) -> type[nn.Module]:
    """A subclass, of the same name, whose weights ``names`` are whole when they are read."""

    def reader(name: str) -> property:
        def read(module: nn.Module) -> Tensor:
            sharding, layouts = module.__dict__["_pieces"]
            return cast(Tensor, sharding.whole(module._parameters[name], layouts[name]))

        return property(read)

    return type(kind.__name__, (kind,), {name: reader(name) for name in names})
