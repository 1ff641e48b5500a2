"""Who a function is: a digest of its code and of all that it computes with, so that an edited one is another one."""

from __future__ import annotations

import functools
import hashlib
import io
import random
import sys
import types
from collections.abc import Iterator
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.Size, PurePath,
    np.generic, range,
)  # fmt: skip
HIDDEN = (io.IOBase, random.Random, np.random.Generator, np.random.RandomState, torch.Generator)  # more than they show
TOLD = ("_parameters", "_buffers", "_modules")
LIBRARIES = ("site-packages", "dist-packages")


class UnreadableCodeError(ValueError):
    """What in a function can't be read, and so can't be told from another one of its name."""


def code_digest(value: Any) -> str:
    """A digest, 32 hex digits, of a function, a class or an object that is called.

    It is of the code itself, so that comments change nothing; of values in closures, defaults, attributes and the names
    of its module that it reads; and of functions and classes that it calls, as far as they are not a library's: those
    are known by their name and the library's version.

    Raises:
        UnreadableCodeError: something written in C, a generator of random numbers, an open file.

    Example:
        >>> two, three = (code_digest(functools.partial(pow, base)) for base in (2, 3))
        >>> two == code_digest(functools.partial(pow, 2)), two == three
        (True, False)
    """
    digest = hashlib.sha256()
    for part in _parts(value, {}):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def _parts(value: Any, seen: dict[int, int]) -> Iterator[bytes]:
    if isinstance(value, PLAIN):
        yield f"{type(value).__name__} {value!r}".encode("utf-8", "backslashreplace")
        return
    if id(value) in seen:  # functions may call themselves, and objects hold one another
        yield f"again {seen[id(value)]}".encode()
        return
    seen[id(value)] = len(seen)
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        yield f"tensor {value.dtype} {tuple(value.shape)}".encode()
        yield hashlib.sha256(value.reshape(-1).view(torch.uint8).numpy().tobytes()).digest()
    elif isinstance(value, np.ndarray):
        yield f"array {value.dtype} {value.shape}".encode()
        yield hashlib.sha256(np.ascontiguousarray(value).tobytes()).digest()
    elif isinstance(value, (list, tuple)):
        yield f"{type(value).__name__} {len(value)}".encode()
        for one in value:
            yield from _parts(one, seen)
    elif isinstance(value, slice):
        yield b"slice"
        yield from _parts((value.start, value.stop, value.step), seen)
    elif isinstance(value, (set, frozenset)):  # whose order is another one in each process
        yield from sorted(b"".join(_parts(one, dict(seen))) for one in value)
    elif isinstance(value, dict):
        yield f"dict {len(value)}".encode()
        for key, one in value.items():
            yield from _parts(key, seen)
            yield from _parts(one, seen)
    elif isinstance(value, types.CodeType):
        yield from _code(value, seen)
    elif isinstance(value, types.ModuleType):
        yield _named(value.__name__, value.__name__)
    elif isinstance(value, functools.partial):
        yield from _parts((value.func, value.args, value.keywords), seen)
    elif isinstance(value, types.MethodType):
        yield from _parts((value.__func__, value.__self__), seen)
    elif isinstance(value, (types.FunctionType, type)) and _of_library(value.__module__ or ""):
        yield _named(value.__module__, value.__qualname__)
    elif isinstance(value, types.FunctionType):
        yield from _function(value, seen)
    elif isinstance(value, type):
        yield from _class(value, seen)
    elif isinstance(value, (types.BuiltinFunctionType, np.ufunc)) and getattr(value, "__module__", None) in (
        None, "builtins", "math", "numpy", "torch", "torch._C._nn",
    ):  # fmt: skip
        yield _named(str(getattr(value, "__module__", "")), value.__name__)
    else:
        yield from _object(value, seen)


def _code(code: types.CodeType, seen: dict[int, int]) -> Iterator[bytes]:
    yield code.co_code
    yield repr((code.co_names, code.co_varnames, code.co_freevars, code.co_argcount, code.co_flags)).encode()
    for constant in code.co_consts:
        yield from _parts(constant, seen)


def _function(function: types.FunctionType, seen: dict[int, int]) -> Iterator[bytes]:
    yield from _code(function.__code__, seen)
    yield from _parts((function.__defaults__, function.__kwdefaults__), seen)
    for cell in function.__closure__ or ():
        try:
            yield from _parts(cell.cell_contents, seen)
        except ValueError as error:
            if isinstance(error, UnreadableCodeError):
                raise
            yield b"an empty cell"
    for name in sorted(_names(function.__code__)):
        if name in function.__globals__:
            yield name.encode()
            yield from _parts(function.__globals__[name], seen)


def _names(code: types.CodeType) -> set[str]:
    inner = (c for c in code.co_consts if isinstance(c, types.CodeType))
    return set(code.co_names).union(*map(_names, inner))


def _class(kind: type, seen: dict[int, int]) -> Iterator[bytes]:
    yield kind.__qualname__.encode()
    for base in kind.__bases__:
        yield from _parts(base, seen)
    for name, value in sorted(vars(kind).items()):
        if name in ("__module__", "__doc__", "__dict__", "__weakref__", "__firstlineno__", "__static_attributes__"):
            continue
        if isinstance(value, (staticmethod, classmethod)):
            value = value.__func__
        if isinstance(value, (property, functools.cached_property)):
            value = getattr(value, "fget", None) or getattr(value, "func", None)
        if isinstance(value, (types.FunctionType, type, *PLAIN, list, tuple, dict, set, frozenset, Tensor)):
            yield name.encode()
            yield from _parts(value, seen)


def _object(value: Any, seen: dict[int, int]) -> Iterator[bytes]:
    """An instance: its class and what it holds. A classifier knows its own digest, an explainer who it is."""
    yield from _parts(type(value), seen)
    fingerprint = getattr(value, "fingerprint", None)
    if callable(fingerprint):
        yield str(fingerprint()).encode()
    elif isinstance(value, nn.Module):  # weights, buffers, parts, and what else it was told; hooks are nobody's code
        own = {k: v for k, v in vars(value).items() if not k.startswith("_") or k in TOLD}
        yield from _parts(dict(sorted(own.items())), seen)
    elif isinstance(getattr(value, "identity", None), dict):
        yield from _parts(value.identity, seen)
    elif hasattr(value, "__dict__") and not isinstance(value, HIDDEN):
        yield from _parts(dict(sorted(vars(value).items())), seen)
    else:
        name = getattr(value, "__qualname__", type(value).__qualname__)
        raise UnreadableCodeError(f"the content of {name} can't be read")


def _named(module: str, name: str) -> bytes:
    top = sys.modules.get(module.partition(".")[0])
    return f"{module}:{name} {getattr(top, '__version__', '')}".encode()


@functools.lru_cache(maxsize=1000)
def _of_library(module: str) -> bool:
    """Is it installed or Python's own, or this package's, so that its version says what it does?"""
    top = module.partition(".")[0]
    if top in ("maskwise", "builtins") or top in sys.stdlib_module_names:
        return True
    file = getattr(sys.modules.get(top), "__file__", None)
    return file is not None and any(part in LIBRARIES for part in Path(file).parts)
