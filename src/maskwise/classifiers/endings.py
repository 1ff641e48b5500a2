"""Where a network ends in softmax, sigmoid or their logarithm, as a layer or a function: logits are what that gets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from threading import get_ident
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from maskwise.classifiers.link import Activation

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
    def before(self, module: nn.Module) -> Iterator[Callable[[], Tensor]]:
        """While open, what the activation gets is filed in this thread.

        Yields:
            A function to the logits of the last forward.
        """
        if self.layer is None:
            with _LastCall() as last:
                yield lambda: last.given
            return
        given: list[Tensor] = []
        mine = get_ident()

        def keep(_: nn.Module, args: Any) -> None:
            if get_ident() == mine:
                given.append(args[0])

        handle = module.get_submodule(self.layer).register_forward_pre_hook(keep)
        try:
            yield lambda: given[-1]
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
            return None if last.kind is None or not last.made(scores) else (Ending(last.kind), last.given)

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
                self.kind, self.given, self._gave, self._is_log = kind, given, result, "log_" in name
        return result

    def made(self, scores: Tensor) -> bool:
        """Did that call give these scores, or what they are a view of, and are they its activation over classes?"""
        gave, given = self._gave, self.given
        same = gave.numel() == scores.numel() and gave.data_ptr() == scores.data_ptr() and gave.numel() > 0
        if not same or given.ndim not in (1, 2) or given.shape != gave.shape:
            return False
        if self.kind == "softmax" and given.ndim == 1:
            return False
        expected = given.sigmoid() if self.kind == "sigmoid" else given.softmax(1)
        found = scores.flatten().exp() if self._is_log else scores.flatten()
        return bool((expected.flatten() - found).abs().max() <= EXACT)
