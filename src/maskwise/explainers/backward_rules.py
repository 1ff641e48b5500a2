"""Another backward for some operations of a network, whichever way the network spells them.

A method such as guided backpropagation wants the usual forward with another backward of, say, ReLU. Hooks on
``nn.ReLU`` modules miss ``F.relu``, ``x.relu_()`` and ``torch.relu``; replacing ``torch.relu`` changes it for the whole
process and still misses the others. A ``TorchFunctionMode`` sees every call, by module, function, method or
operator, only in this thread and only while it is open, and leaves nothing behind, also when the network raises.

What it cannot see: networks that are scripted, traced or exported (``unseen.py``), and what a network computes inside
C++ alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from maskwise.classifiers import Classifier
from maskwise.classifiers.unseen import refuse_unseen
from maskwise.core.errors import InputError

Handler = Callable[..., Any]
SPELLINGS = {
    "_threshold": "threshold", "clip": "clamp", "subtract": "sub", "multiply": "mul", "divide": "div",
    "true_divide": "div", "truediv": "div", "max_pool2d_with_indices": "max_pool2d",
    "adaptive_max_pool2d_with_indices": "adaptive_max_pool2d", "concat": "cat",
}  # fmt: skip
RESHAPES = ("squeeze_", "unsqueeze_", "transpose_")  # in place, but what they change is the shape
OPERATORS = ("add", "sub", "mul", "truediv", "div", "matmul", "pow")


class BackwardRules(TorchFunctionMode):
    """While open, operations that have a handler go through it; all others run as they are.

    Args:
        handlers: from the plain name of an operation ("relu", "conv2d", "add") to a function with the arguments of
            that operation. It gives the result, out of place, or ``NotImplemented`` to leave the call as it was.

    In-place spellings (``relu_``, ``+=``, ``inplace=True``) reach the same handler; its result is then copied into the
    tensor, so that aliases of that tensor see the change as they do without the mode.
    """

    def __init__(self, handlers: Mapping[str, Handler]) -> None:
        super().__init__()
        self.handlers = dict(handlers)

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, inplace = spelling(func)
        handler = self.handlers.get(name)
        if handler is None or kwargs.get("out") is not None:
            return func(*args, **kwargs)
        given = {key: value for key, value in kwargs.items() if key != "inplace"}
        result = handler(*args, **given)
        if result is NotImplemented:
            return func(*args, **kwargs)
        if inplace or kwargs.get("inplace"):
            return (args[0] if args else kwargs["input"]).copy_(result)
        return result


@cache
def spelling(func: Any) -> tuple[str, bool]:
    """Plain name of an operation and whether this spelling of it works in place.

    ``F.relu``, ``torch.relu_`` and ``Tensor.relu`` are all "relu"; ``__iadd__``, ``add_`` and ``__radd__`` are "add".
    Operators whose reflection is another operation keep the r: "rsub", "rdiv", "rpow", "rmatmul".
    """
    name: str = getattr(func, "__name__", "")
    inplace = False
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        if name[:1] == "i" and name[1:] in OPERATORS:
            name, inplace = name[1:], True
        elif name in ("radd", "rmul"):
            name = name[1:]
    elif name.endswith("_") and name not in RESHAPES:
        name, inplace = name[:-1], True
    return SPELLINGS.get(name, name), inplace


def out_of_place(name: str) -> Callable[..., Any]:
    """The out-of-place function of an operation by its plain name."""
    function: Callable[..., Any] = getattr(F, name, None) or getattr(torch, name)
    return function


class _Rectify(torch.autograd.Function):
    """min(max(x, 0), cap) whose backward is g * (g > 0), with ``local`` also * (0 < x < cap)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cap: float | None, local: bool) -> Tensor:
        if local:  # the mask rather than x: x may be overwritten later
            ctx.save_for_backward((x > 0) if cap is None else (x > 0) & (x < cap))
        ctx.local = local
        return x.relu() if cap is None else x.clamp(0, cap)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        passed = gradients[0].relu()
        return (passed * ctx.saved_tensors[0] if ctx.local else passed), None, None


class ReluRules(BackwardRules):
    """ReLU and ReLU6 in every spelling, also as hardtanh, threshold or clamp from zero.

    Args:
        local: keep ReLU's own mask (x > 0) beside the sign of the gradient (guided backpropagation); without it only
            the gradient's sign counts (deconvnet).
        others: handlers of further operations.

    Attributes:
        met: how many ReLUs lay between the pictures and the answer.
    """

    def __init__(self, local: bool, others: Mapping[str, Handler] | None = None) -> None:
        # The handlers' arguments are named as torch names them, for callers that pass them by name.
        def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Any:
            return self.rectify(input, max_val) if min_val == 0 else NotImplemented

        def clamp(input: Tensor, min: Any = None, max: Any = None) -> Any:
            # Only a clamp from zero is a ReLU; bounds that are tensors are some other operation.
            if isinstance(min, Tensor) or isinstance(max, Tensor) or min != 0:
                return NotImplemented
            return self.rectify(input, max)

        def threshold(input: Tensor, threshold: float, value: float) -> Any:
            return self.rectify(input) if threshold == 0 and value == 0 else NotImplemented

        super().__init__(
            {
                "relu": lambda input: self.rectify(input),
                "relu6": lambda input: self.rectify(input, 6.0),
                "hardtanh": hardtanh,
                "clamp": clamp,
                "clamp_min": lambda input, min: clamp(input, min),
                "threshold": threshold,
                **(others or {}),
            }
        )
        self.local, self.met = local, 0

    def rectify(self, x: Tensor, cap: float | None = None) -> Any:
        if not (x.requires_grad and torch.is_grad_enabled()):
            return NotImplemented
        self.met += 1
        return _Rectify.apply(x, cap, self.local)


def check_met(rules: ReluRules, method: str, classifier: Classifier) -> None:
    """Refuses a network without any ReLU, or with a part whose ReLUs can't be seen.

    Raises:
        InputError: none was met, or not all; the map would be the plain gradient under another name.
    """
    if not rules.met:
        raise InputError(
            f"{method} changes how ReLU passes gradients back, but {classifier.name} uses no ReLU that can be seen "
            "(it has other activations, runs without gradients, or is scripted or compiled); use gradient, smooth_grad "
            "or integrated_gradients"
        )
    refuse_unseen(classifier.module, method, classifier.name, "use gradient, smooth_grad or integrated_gradients")
