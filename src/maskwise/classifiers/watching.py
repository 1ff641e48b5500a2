"""One forward, watched: which module was called when, with what, and what it gave."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from maskwise.classifiers.black_box import BlackBox
from maskwise.classifiers.grids import GridLayout, GridSize, gives_rows, layout_of
from maskwise.classifiers.learned_queries import Askers
from maskwise.classifiers.prefix_tokens import prefix_tokens
from maskwise.classifiers.unseen import takes_hooks
from maskwise.core.errors import InputError
from maskwise.core.own_thread import in_this_thread


@dataclass
class Call:
    """One call of one module.

    Attributes:
        name: of the module; of one that is called again the last call is ``NAME``, those before ``NAME#1``, ``NAME#2``.
        inputs, output: identities of the tensor that came in and of the one that went out.
        read, made: how often these had been overwritten in place by then.
        layout, grid: of the output, where it has places: where they are, and (h,w); ``learned_queries`` are none.
        rows: of the output; as many as pictures, but for what a detector's head has: one for each proposal.
        children: calls within this one.
    """

    name: str
    module: nn.Module
    inputs: int | None = None
    output: int | None = None
    read: int = 0
    made: int = 0
    layout: GridLayout | None = None
    grid: GridSize | None = None
    rows: int = 1
    children: list[Call] = field(default_factory=list)

    def all_calls(self) -> Iterator[Call]:
        """All calls within this one, at any depth."""
        for child in self.children:
            yield child
            yield from child.all_calls()

    @property
    def is_chain(self) -> bool:
        """Does each child receive what the one before it gave, and the module give what the last child gave?

        The first child may receive something prepared (a position embedding added, say).
        """
        steps = self.children
        linked = all(b.inputs is not None and b.inputs == a.output for a, b in pairwise(steps))
        return bool(steps) and linked and steps[-1].output == self.output

    @property
    def has_weights(self) -> bool:
        return next(self.module.parameters(), None) is not None


def watch(module: nn.Module, example: Tensor) -> Call:
    """The tree of module calls of one forward; tensors are told apart by identity and kept alive meanwhile.

    Args:
        example: normalised pictures (1,C,H,W).

    Raises:
        InputError: a program whose parts can't be watched: scripted, or exported.
    """
    if isinstance(module, BlackBox):
        raise InputError(
            "a black box (a function, an ONNX file) shows no layers: take a method that reads none, such as rise, "
            "banzhaf or occlusion, or a masker that is taught by one (`maskwise fit`)"
        )
    if isinstance(module, (torch.jit.ScriptModule, torch.fx.GraphModule)) and not _has_layers(module):
        raise InputError(
            "a scripted or exported program shows no layers: take the network it was made from, or a method that reads "
            "none, such as rise, occlusion or gradient"
        )
    root, size = Call("", module), (example.shape[-2], example.shape[-1])
    stack, alive, handles = [root], [], []
    maps: list[GridSize] = []  # of outputs with channels so far
    outputs: list[tuple[Call, Tensor]] = []
    rows: set[int] = set()  # identities of tensors (N,C,T)
    askers = Askers()
    names = {m: n for n, m in module.named_modules()}
    times: Counter[nn.Module] = Counter()
    prefix = prefix_tokens(module)

    def before(m: nn.Module, args: Any, kwargs: Any) -> None:
        times[m] += 1
        call = Call(f"{names[m]}#{times[m]}", m)
        if args and isinstance(args[0], Tensor):
            call.inputs, call.read = id(args[0]), _version(args[0])
        stack[-1].children.append(call)
        stack.append(call)
        alive.append(args)
        askers.note(args, kwargs, len(outputs))

    def after(m: nn.Module, args: Any, output: Any) -> None:
        call = stack.pop()
        alive.append(output)
        if not isinstance(output, Tensor):
            return
        outputs.append((call, output))
        call.output, call.made = id(output), _version(output)
        call.rows = len(output) if output.ndim else 1
        if output.ndim == 3 and (gives_rows(m) or (call.inputs in rows and _keeps_rows(call, args[0], output))):
            rows.add(id(output))
        call.layout = None if id(output) in rows else layout_of(output, size, maps, prefix)
        grid = None if call.layout is None else call.layout.grid(output)
        if grid is not None:
            call.grid = (grid.shape[-2], grid.shape[-1])
            if output.ndim == 4:
                maps.append(call.grid)

    try:
        for m in module.modules():
            if m is not module and takes_hooks(m):
                handles.append(m.register_forward_pre_hook(in_this_thread(before), with_kwargs=True))
                handles.append(m.register_forward_hook(in_this_thread(after)))
        with torch.no_grad():
            given = module(example)
            root.output = id(given) if isinstance(given, Tensor) else None
    finally:
        for handle in handles:
            handle.remove()
    for since, tokens in askers.learned(module, example):
        for call, output in outputs[since:]:
            if output.ndim == 3 and output.shape[1] == tokens:
                call.layout = call.grid = None
    for call in root.all_calls():
        path, _, number = call.name.rpartition("#")
        if int(number) == times[call.module]:
            call.name = path
    return root


def _keeps_rows(call: Call, given: Tensor, output: Tensor) -> bool:
    """Does a step that was given rows (N,C,T) give rows, as a ReLU does?"""
    return not call.has_weights and output.shape == given.shape


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version


def _has_layers(module: nn.Module) -> bool:
    """Are there parts that Python calls? Of scripted and exported programs there are none."""
    if isinstance(module, torch.jit.ScriptModule):
        return False
    return any(node.op == "call_module" and not str(node.target).startswith("_") for node in module.graph.nodes)  # type: ignore[union-attr]
