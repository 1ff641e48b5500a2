"""Who a function is: a digest of its code and of all that it computes with, so that an edited one is another one."""

from __future__ import annotations

import datetime
import decimal
import fractions
import hashlib
import importlib
import importlib.util
import re
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any
from uuid import uuid4

import numpy as np
import torch
from torch import Tensor, nn

from maskwise.core.code_names import RUNS_TEXT, CodeNames, of_library
from maskwise.core.object_content import (
    PROGRAMS,
    attributes_of,
    content_in_c,
    program_constants,
    program_text,
    shows_all,
    told_to,
)

PLAIN = (
    type(None), bool, int, float, complex, str, bytes, type(...), torch.dtype, torch.device, torch.Size, PurePath,
    np.generic, range, datetime.date, datetime.time, datetime.timedelta, decimal.Decimal, fractions.Fraction,
    type(torch.strided), types.GenericAlias,
)  # fmt: skip
CONTAINERS = (list, tuple, dict, set, frozenset)
ADDRESS = re.compile(" at 0x[0-9a-f]+")
DESCRIPTORS = (
    types.MethodDescriptorType, types.WrapperDescriptorType, types.ClassMethodDescriptorType,
    types.GetSetDescriptorType, types.MemberDescriptorType,
)  # fmt: skip


class UnreadableCodeError(ValueError):
    """What in a function can't be read, and so can't be told from another one of its name."""


def code_digest(value: Any) -> str:
    """A digest, 32 hex digits, of a function, a class or an object that is called.

    It is of the code itself, so that comments change nothing; of values in closures, defaults, attributes and the names
    of its module that it reads; and of functions, classes and modules that it uses, as far as they are not a library's:
    those are known by their name and the library's version. Modules of yours that it imports are imported.

    Raises:
        UnreadableCodeError: something written in C, a generator of random numbers, an open file, code that runs text.

    Example:
        >>> import functools
        >>> two, three = (code_digest(functools.partial(pow, base)) for base in (2, 3))
        >>> two == code_digest(functools.partial(pow, 2)), two == three
        (True, False)
    """
    digest = hashlib.sha256()
    for part in _Reader().parts(value):
        digest.update(part)
        digest.update(b"\0")
    return digest.hexdigest()[:32]


def own_code(network: nn.Module) -> str | None:
    """A digest of what a state dict does not say of a network: code of yours, what its parts were told, a graph.

    A network whose own class is a library's has None: it is known by its weights. One that is put together of a
    library's layers, as ``nn.Sequential``, is known by their settings, too.

    Raises:
        UnreadableCodeError: as ``code_digest``.

    Example:
        >>> two, three = (own_code(nn.Sequential(nn.MaxPool2d(size))) for size in (2, 3))
        >>> two == own_code(nn.Sequential(nn.MaxPool2d(2))), two == three
        (True, False)
    """
    found: list[Any] = []
    for name, part in network.named_modules():
        home = type(part).__module__
        if isinstance(part, PROGRAMS):
            found.append((name, program_text(part)))
        elif not of_library(home):
            found.append((name, type(part), told_to(part, parts=False)))
        elif home.startswith("maskwise.") and (told := told_to(part, parts=False)):  # such as the class of a region
            found.append((name, told))
    if found or type(network).__module__.startswith("torch.nn."):
        found.append(ADDRESS.sub("", repr(network)))
    return code_digest(found) if found else None


def code_of_own(kind: type) -> str | None:
    """16 hex digits of the code of a class of yours, by which what it gave is filed; None of a library's.

    Of a class that can't be read the digits are this process's own, so that nothing kept is taken for its.

    Example:
        >>> code_of_own(nn.Linear) is None
        True
    """
    if of_library(kind.__module__):
        return None
    try:
        return code_digest(kind)[:16]
    except UnreadableCodeError:
        return _UNREAD.setdefault(kind, uuid4().hex[:16])


_UNREAD: dict[type, str] = {}


class _Reader:
    """Reads one value after another; what it has read stays alive, so that an address is of one thing alone."""

    def __init__(self, seen: Mapping[Any, tuple[int, Any]] | None = None) -> None:
        self.seen: dict[Any, tuple[int, Any]] = dict(seen or {})

    def parts(self, value: Any) -> Iterator[bytes]:
        kind = type(value)
        if isinstance(value, PLAIN) or kind.__module__ == "typing":
            yield f"{kind.__name__} {value!r}".encode("utf-8", "backslashreplace")
            if not of_library(kind.__module__):  # a text with methods of its own, say
                yield from self.parts(kind)
            return
        # Equal tuples may be one or two, by how a file was compiled; what could hold itself is named again.
        if isinstance(value, (tuple, frozenset, slice)):
            yield from self._content(value)
            return
        if id(value) in self.seen:  # functions may call themselves, and objects hold one another
            yield f"again {self.seen[id(value)][0]}".encode()
            return
        self.seen[id(value)] = len(self.seen), value
        yield from self._content(value)

    def _content(self, value: Any) -> Iterator[bytes]:
        if isinstance(value, Tensor):
            yield from self._tensor(value)
        elif isinstance(value, np.ndarray):
            yield from self._array(value)
        elif isinstance(value, CONTAINERS):
            yield from self._container(value)
        elif isinstance(value, slice):
            yield b"slice"
            yield from self.parts((value.start, value.stop, value.step))
        elif isinstance(value, types.CodeType):
            yield from self._code(value)
        elif isinstance(value, types.ModuleType):
            yield from self._module(value, None)
        elif isinstance(value, types.MethodType):
            yield from self.parts((value.__func__, value.__self__))
        elif isinstance(value, types.FunctionType):
            yield from self._function(value)
        elif isinstance(value, type):
            yield from self._class(value)
        elif isinstance(value, (types.BuiltinFunctionType, np.ufunc, *DESCRIPTORS)):
            yield from self._compiled(value)
        else:
            shown = content_in_c(value)
            if shown is None:
                yield from self._object(value)
            else:
                yield type(value).__name__.encode()
                yield from self.parts(shown)

    def _tensor(self, tensor: Tensor) -> Iterator[bytes]:
        yield f"tensor {tensor.dtype} {tuple(tensor.shape)} {tensor.layout}".encode()
        if not of_library(type(tensor).__module__):
            yield from self.parts(type(tensor))
        try:
            held = tensor.detach().cpu()
            if held.layout == torch.sparse_coo:
                held = held.coalesce()
                yield from self.parts((held.indices(), held.values()))
                return
            if held.is_quantized:
                yield str(held.qscheme()).encode()
                held = held.dequantize()
            held = held.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
            yield hashlib.sha256(held.numpy().tobytes()).digest()
        except (RuntimeError, NotImplementedError, TypeError) as error:
            raise UnreadableCodeError(f"the content of a tensor ({tensor.layout}) can't be read") from error

    def _array(self, values: np.ndarray) -> Iterator[bytes]:
        yield f"{type(values).__name__} {values.dtype} {values.shape}".encode()
        if isinstance(values, np.ma.MaskedArray):
            yield from self.parts((np.asarray(values.data), np.ma.getmaskarray(values)))
        elif values.dtype.hasobject:  # whose bytes are addresses
            yield from self.parts(values.tolist())
        else:
            yield hashlib.sha256(np.ascontiguousarray(values).tobytes()).digest()

    def _container(self, value: Any) -> Iterator[bytes]:
        kind = type(value)
        yield f"{kind.__name__} {len(value)}".encode()
        if kind not in CONTAINERS:  # one with code, or more than its items
            yield from self.parts(kind)
            more = getattr(value, "default_factory", None)
            yield from self.parts((more, dict(sorted(getattr(value, "__dict__", {}).items()))))
        if isinstance(value, (set, frozenset)):  # whose order is another one in each process
            yield from sorted(b"".join(_Reader(self.seen).parts(one)) for one in value)
            return
        for one in value.items() if isinstance(value, dict) else value:
            yield from self.parts(one)

    # ---- code -----------------------------------------------------------------------------------------------

    def _code(self, code: types.CodeType) -> Iterator[bytes]:
        yield code.co_code
        yield getattr(code, "co_exceptiontable", b"")
        names = (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars)
        counts = (code.co_argcount, code.co_kwonlyargcount, code.co_posonlyargcount, code.co_flags)
        yield repr((*names, *counts)).encode()
        for constant in code.co_consts:
            yield from self.parts(constant)

    def _function(self, function: types.FunctionType) -> Iterator[bytes]:
        compiled = getattr(function, "_torchdynamo_orig_callable", None)
        if compiled is not None:
            yield b"compiled"
            yield from self.parts(compiled)
            return
        # By where it was written: ``functools.wraps`` makes a function say that it is of another module.
        module = str(function.__globals__.get("__name__", ""))
        library = of_library(module)
        if library:
            yield _named(module, function.__code__.co_name)
            if _found_by_name(function):
                return
        else:
            yield from self._code(function.__code__)
        yield from self.parts((function.__defaults__, function.__kwdefaults__))
        yield from self.parts(dict(sorted(vars(function).items())))
        names = CodeNames.of(function.__code__)
        for cell in function.__closure__ or ():
            try:
                held = cell.cell_contents
            except ValueError:
                yield b"an empty cell"
                continue
            yield from self._used(held, names)
        if library:
            return
        if names.globals & RUNS_TEXT:
            raise UnreadableCodeError(f"{function.__qualname__} runs text as code, which can't be read")
        for name in sorted(names.globals & function.__globals__.keys()):
            yield name.encode()
            yield from self._used(function.__globals__[name], names)
        for name, level in sorted(names.imports):
            yield from self._imported(name, level, function, names)

    def _used(self, value: Any, names: CodeNames) -> Iterator[bytes]:
        if isinstance(value, types.ModuleType):
            yield from self._module(value, names.attributes)
        else:
            yield from self.parts(value)

    def _imported(self, name: str, level: int, function: types.FunctionType, names: CodeNames) -> Iterator[bytes]:
        yield f"import {name} {level}".encode()
        try:
            whole = "." * level + name
            if level:
                space = function.__globals__
                whole = importlib.util.resolve_name(whole, space.get("__package__") or space.get("__name__", ""))
            if of_library(whole):
                yield _named(whole, whole)
            else:
                yield from self._module(importlib.import_module(whole), names.attributes)
        except ImportError:
            yield b"is not there"

    def _module(self, module: types.ModuleType, used: set[str] | None) -> Iterator[bytes]:
        """A library's by name; of one of yours what is used, or all of it where that is not known."""
        yield _named(module.__name__, module.__name__)
        if of_library(module.__name__):
            return
        names = sorted(name for name in vars(module) if (name in used if used is not None else name[:2] != "__"))
        key = (module.__name__, tuple(names))
        if key in self.seen:  # modules may import one another
            return
        self.seen[key] = len(self.seen), module
        for name in names:
            value = vars(module)[name]
            yield name.encode()
            if isinstance(value, types.ModuleType):
                yield from self._module(value, used)
            else:
                yield from self.parts(value)

    def _class(self, kind: type) -> Iterator[bytes]:
        if of_library(kind.__module__):
            yield _named(kind.__module__, kind.__qualname__)
            if not _found_by_name(kind):  # one that a library made, perhaps around functions of yours
                for function in vars(kind).values():
                    if isinstance(function, types.FunctionType) and not of_library(_home(function)):
                        yield from self.parts(function)
            return
        yield kind.__qualname__.encode()
        if not of_library(type(kind).__module__):
            yield from self.parts(type(kind))
        for base in kind.__bases__:
            yield from self.parts(base)
        for name, value in sorted(vars(kind).items()):
            how_kept = name[:2] == name[-2:] == "__" and not _is_code(value)  # by Python
            if how_kept or name in ("_abc_impl", "__annotate__", "__annotate_func__"):
                continue
            if not isinstance(value, (types.MemberDescriptorType, types.GetSetDescriptorType)):
                yield name.encode()
                yield from self.parts(value)

    def _compiled(self, value: Any) -> Iterator[bytes]:
        """What is written in C: by name where a module or class of a library has it, and with what it is bound to."""
        name, owner = value.__name__, getattr(value, "__self__", None)
        if isinstance(value, np.ufunc):
            homes = ("numpy", "scipy.special")
            home = next((one for one in homes if getattr(sys.modules.get(one), name, None) is value), None)
            if home is None:  # as of ``np.frompyfunc``
                raise UnreadableCodeError(f"the content of {name} can't be read")
            yield _named(home, name)
        elif isinstance(value, DESCRIPTORS):
            yield name.encode()
            yield from self.parts(value.__objclass__)
        elif owner is None or isinstance(owner, types.ModuleType):
            yield _named(str(value.__module__ or getattr(owner, "__name__", "")), name)
        else:  # a method, as ``table.get``; PyTorch's functions are those of a class without a name
            yield name.encode()
            yield from self.parts(owner)

    # ---- objects --------------------------------------------------------------------------------------------

    def _object(self, value: Any) -> Iterator[bytes]:
        """An instance: its class and what it holds. A classifier knows its own digest, an explainer who it is."""
        yield from self.parts(type(value))
        fingerprint = getattr(value, "fingerprint", None)
        if callable(fingerprint):
            yield str(fingerprint()).encode()
            if isinstance(value, nn.Module):
                yield str(own_code(value)).encode()
        elif isinstance(value, PROGRAMS):
            of = () if isinstance(value, torch.jit.ScriptModule) else tuple(value.children())
            mode = getattr(value, "training", False)  # which a frozen one has no more
            held = dict(sorted(value.state_dict().items())), program_constants(value)
            yield from self.parts((program_text(value), mode, *held, of))
        elif isinstance(value, nn.Module):  # weights, buffers, parts, and what else it was told
            yield from self.parts(told_to(value))
        elif isinstance(getattr(value, "identity", None), dict):
            yield from self.parts(value.identity)
        elif shows_all(value):
            yield from self.parts(attributes_of(value))
        else:
            name = getattr(value, "__qualname__", type(value).__qualname__)
            raise UnreadableCodeError(f"the content of {name} can't be read")


def _is_code(value: Any) -> bool:
    return callable(value) or isinstance(value, (staticmethod, classmethod, property))


def _home(function: types.FunctionType) -> str:
    return str(function.__globals__.get("__name__", ""))


def _found_by_name(value: Any) -> bool:
    """Does its module have it under its name?"""
    found: Any = sys.modules.get(value.__module__ or "")
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is value


def _named(module: str, name: str) -> bytes:
    top = sys.modules.get(module.partition(".")[0])
    return f"{module}:{name} {getattr(top, '__version__', '')}".encode()
