"""What an object holds: by its attributes and slots, or as Python shows it of what it has in C."""

from __future__ import annotations

import array
import collections
import functools
import io
import logging
import operator
import random
import re
import threading
import types
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HIDDEN = (io.IOBase, random.Random, np.random.Generator, np.random.RandomState, torch.Generator)  # more than they show
NO_CONTENT = (type(threading.Lock()), type(threading.RLock()), logging.Logger)  # what they hold computes nothing
PARTS = ("_parameters", "_buffers", "_modules")
UNTOLD = set(vars(nn.Module())) - {"training", *PARTS}  # hooks are nobody's code
PROGRAMS = (torch.jit.ScriptModule, torch.fx.GraphModule)
COUNTED = re.compile(r"\.?___torch_mangle_\d+| # .*")  # differs with what else was loaded, and where it lay
BY_REDUCTION = (
    operator.itemgetter, operator.attrgetter, operator.methodcaller, type(vars(collections.namedtuple("_", "a"))["a"]),
)  # fmt: skip


def told_to(network: nn.Module, parts: bool = True) -> dict[str, Any]:
    """Its attributes; without ``parts`` those that no state dict has, and that are the same in train and eval mode."""
    left_out = UNTOLD if parts else {*UNTOLD, *PARTS, "training"}
    return {key: value for key, value in sorted(vars(network).items()) if key not in left_out}


def program_text(network: nn.Module) -> str:
    """The code of a traced or scripted network, constants among it, without what counts programs and lines."""
    if isinstance(network, torch.jit.ScriptModule):
        return COUNTED.sub("", str(network.inlined_graph))
    return str(network.code)


def program_constants(network: nn.Module) -> list[Tensor]:
    """Tensors of a traced, scripted or exported network that are in neither its state dict nor its text.

    A frozen one has all its weights there, and an export what was a plain attribute, as a prior of the classes.
    """
    if isinstance(network, torch.jit.ScriptModule):
        return list(_constants_of(network.inlined_graph))
    unsaved = {name: network._buffers.get(name) for name in network._non_persistent_buffers_set}
    return [value for _, value in sorted({**vars(network), **unsaved}.items()) if isinstance(value, Tensor)]


def _constants_of(block: Any) -> Iterator[Tensor]:
    for node in block.nodes():
        if node.kind() == "prim::Constant" and node.hasAttribute("value") and node.kindOf("value") == "t":
            yield node.t("value")
        for inner in node.blocks():
            yield from _constants_of(inner)


def content_in_c(value: Any) -> Any:
    """The content of things that Python has in C and that show it by other means than attributes; None of others."""
    if isinstance(value, NO_CONTENT):
        return type(value).__name__
    if isinstance(value, (functools.partial, functools.partialmethod)):
        return value.func, value.args, value.keywords
    if isinstance(value, (staticmethod, classmethod)):
        return (value.__func__,)
    if isinstance(value, property):
        return value.fget, value.fset, value.fdel
    if isinstance(value, functools.cached_property):
        return (value.func,)
    if isinstance(value, weakref.ReferenceType):
        return (value(),)
    if isinstance(value, types.MappingProxyType):
        return (dict(value),)
    if isinstance(value, re.Pattern):
        return value.pattern, int(value.flags)
    if isinstance(value, collections.deque):
        return type(value), list(value), value.maxlen, getattr(value, "__dict__", {})
    if isinstance(value, (bytearray, memoryview, array.array)):
        return bytes(value), getattr(value, "typecode", "")
    if isinstance(value, BY_REDUCTION):
        return value.__reduce__()
    if hasattr(value, "cache_parameters") and hasattr(value, "__wrapped__"):
        return value.__wrapped__, value.cache_parameters()
    return None


class _Simple:
    pass


def _slots(value: Any) -> list[str]:
    names: list[str] = []
    for kind in type(value).__mro__:
        own = vars(kind).get("__slots__", ())
        names += [own] if isinstance(own, str) else list(own)
    return [name for name in names if name not in ("__dict__", "__weakref__")]


def shows_all(value: Any) -> bool:
    """Is all that it holds among its attributes? What is written in C keeps more, in bytes of its own."""
    if isinstance(value, HIDDEN):
        return False
    slots, kind = _slots(value), type(value)
    if not slots and not hasattr(value, "__dict__"):
        return kind.__flags__ & 1 << 9 != 0 and kind.__basicsize__ <= object.__basicsize__  # nothing at all
    if kind is types.SimpleNamespace:
        return True
    return kind.__itemsize__ == 0 and kind.__basicsize__ <= _Simple.__basicsize__ + 8 * len(slots)


def attributes_of(value: Any) -> dict[str, Any]:
    found = dict(getattr(value, "__dict__", {}))
    for name in _slots(value):
        name = f"_{type(value).__name__.lstrip('_')}{name}" if name[:2] == "__" and name[-2:] != "__" else name
        if hasattr(value, name):
            found[name] = getattr(value, name)
    return dict(sorted(found.items()))
