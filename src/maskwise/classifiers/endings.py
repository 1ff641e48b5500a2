"""Where a network ends in softmax, sigmoid or their logarithm, as a layer or a function: logits are what that gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from maskwise.classifiers.link import Activation
from maskwise.core.own_thread import in_this_thread

LAYERS: dict[type[nn.Module], Activation] = {
    nn.Softmax: "softmax", nn.LogSoftmax: "softmax", nn.Sigmoid: "sigmoid", nn.LogSigmoid: "sigmoid"
}  # fmt: skip
FUNCTIONS: dict[str, Activation] = {
    "softmax": "softmax", "special_softmax": "softmax", "log_softmax": "softmax", "special_log_softmax": "softmax",
    "sigmoid": "sigmoid", "special_expit": "sigmoid", "log_sigmoid": "sigmoid",
}  # fmt: skip
EXACT = 1e-4  # how far the activation of the logits may be from what the network gave


@dataclass(frozen=True)
class Ending:
    """The activation that a network ends in.

    Attributes:
        activation: which.
        layer: name of the layer that it is; None where it is a function.
    """

    activation: Activation
    layer: str | None = None

    @contextmanager
    def before(self, module: nn.Module) -> Iterator[Callable[[Tensor], Tensor]]:
        """While open, what the activation gets is filed in this thread.

        Yields:
            A function from the scores of a forward to its logits: the same where it did without the activation, as
            some networks do in train mode.
        """
        last = _LastCall()
        if self.layer is None:
            with last:
                yield last.before
            return

        def keep(_: nn.Module, args: Any, output: Any) -> None:
            last.file(self.activation, args[0], output)

        handle = module.get_submodule(self.layer).register_forward_hook(in_this_thread(keep))
        try:
            yield last.before
        finally:
            handle.remove()


@contextmanager
def ending_of(module: nn.Module) -> Iterator[Callable[[Tensor], tuple[Ending, Tensor] | None]]:
    """While open, softmax and sigmoid are watched, as layers and as functions.

    Yields:
        A function from the scores that the module gave to its ending and the logits. None if it ends otherwise.
    """
    seen: dict[int, tuple[str, Tensor, Tensor]] = {}
    names = {layer: name for name, layer in module.named_modules()}
    handles = []

    def keep(layer: nn.Module, args: Any, output: Any) -> None:
        if args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            seen[id(output)] = (names[layer], args[0], output)  # which keeps it, and so its identity, alive

    with _LastCall() as last:

        def found(scores: Tensor) -> tuple[Ending, Tensor] | None:
            if id(scores) in seen:
                name, given, _ = seen[id(scores)]
                return Ending(LAYERS[type(module.get_submodule(name))], name), given
            return (Ending(last.kind), last.given) if last.kind is not None and last.made(scores) else None

        try:
            if not isinstance(module, torch.jit.ScriptModule):
                handles = [m.register_forward_hook(keep) for m in names if type(m) in LAYERS]
            yield found
        finally:
            for handle in handles:
                handle.remove()


class _LastCall(TorchFunctionMode):
    """While open, the last call of softmax or sigmoid: ``kind``, and the tensor that it was ``given``."""

    kind: Activation | None = None
    given: Tensor
    _gave: Tensor
    _is_log: bool

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        kind = FUNCTIONS.get(name)
        if kind is not None and isinstance(result, Tensor):
            given = args[0] if args else (kwargs or {}).get("input")
            if isinstance(given, Tensor):
                self.file(kind, given, result)
                self._is_log = "log_" in name
        return result

    def file(self, kind: Activation, given: Tensor, gave: Tensor) -> None:
        self.kind, self.given, self._gave = kind, given, gave

    def before(self, scores: Tensor) -> Tensor:
        """The logits of scores that it gave; other scores as they are."""
        return self.given if self.gave_to(scores) else scores

    def gave_to(self, scores: Tensor) -> bool:
        """Did that call give these scores, or what they are a view of?"""
        if self.kind is None or scores.numel() != self._gave.numel():
            return False
        if scores.is_inference():  # whose views know of no base
            return scores.data_ptr() == self._gave.data_ptr()
        return scores is self._gave or scores._base is self._gave

    def made(self, scores: Tensor) -> bool:
        """Did it, and are they its activation over the classes?"""
        given = self.given
        if not self.gave_to(scores) or given.ndim > 2 or given.shape != self._gave.shape:
            return False
        if self.kind == "softmax" and given.ndim == 1:
            return False
        expected = given.sigmoid() if self.kind == "sigmoid" else given.softmax(1)
        found = scores.flatten().exp() if self._is_log else scores.flatten()
        return bool((expected.flatten() - found).abs().max() <= EXACT)
