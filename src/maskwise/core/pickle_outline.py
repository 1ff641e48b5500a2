"""The outline of a pickle that ``torch.save`` wrote: which tensors it would make, before one is made.

A pickle is a program of a small stack machine. It is followed here symbolically: names stay names and are never looked
up, and of a tensor only storage, shape and strides are noted. What PyTorch's ``weights_only`` reader would call besides
(``bytearray(10**11)`` is a hundred bytes long) ends the reading.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, BinaryIO

DTYPES = {
    "Double": 8, "Float": 4, "Half": 2, "BFloat16": 2, "Long": 8, "Int": 4, "Short": 2, "Char": 1, "Byte": 1, "Bool": 1,
}  # fmt: skip
HIGHEST_RANK = 8
PLAIN = {
    "collections.OrderedDict",
    "collections.Counter",
    "builtins.set",
    "builtins.complex",
    "torch.Size",
    "torch.device",
}
SPARSE = ("sparse", "_get_layout", "nested", "meta_tensor", "wrapper_subclass")


class OutlineError(ValueError):
    """Why a pickle is not followed further, as the end of a sentence about the file."""


class ForbiddenNameError(OutlineError):
    """It asks for something by a name that is neither a tensor nor plain data.

    Attributes:
        name: dotted.
    """

    def __init__(self, name: str) -> None:
        super().__init__(f"asks for {name!r}, which is neither a tensor nor plain data")
        self.name = name


@dataclass(frozen=True)
class StoredNumbers:
    """A tensor's memory in the file.

    Attributes:
        key: which.
        itemsize: bytes of a number.
        count: how many numbers.
    """

    key: str
    itemsize: int
    count: int


@dataclass(frozen=True)
class _Name:
    dotted: str


class _Thing:
    """Something that is there and of which nothing more need be known: a list, a dictionary, bytes."""


@dataclass
class _Tensor:
    """One that would be made; a parameter around it is the same."""


THING, TENSOR, MARK = _Thing(), _Tensor(), object()
ATOMS = {
    "BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT", "UNICODE", "BINUNICODE",
    "SHORT_BINUNICODE", "BINUNICODE8", "NONE",
}  # fmt: skip
BYTES = {"STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}


@dataclass
class Outline:
    """What a pickle holds.

    Attributes:
        storages: by key.
        tensors: how many.
    """

    storages: dict[str, StoredNumbers] = field(default_factory=dict)
    tensors: int = 0


def outline_of(file: BinaryIO, allowed: Collection[str] = ()) -> Outline:
    """Follows one pickle from the file's position to its end.

    Args:
        allowed: dotted names of plain classes that may be made besides.

    Raises:
        OutlineError: it asks for something else than plain data and plain tensors, or a tensor lies outside of its
            storage, overlaps itself, or has a type that no network here has.
    """
    machine = _Machine(frozenset(allowed))
    try:
        for operation, argument, _ in pickletools.genops(file):
            machine.step(operation.name, argument)
    except OutlineError:
        raise
    except RecursionError:
        raise OutlineError("is nested too deeply") from None
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise OutlineError(f"is damaged ({type(error).__name__} in its pickle)") from None
    return machine.found


class _Machine:
    def __init__(self, allowed: frozenset[str]) -> None:
        self.allowed, self.found = allowed, Outline()
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ATOMS:
            stack.append(argument)
        elif name in BYTES:
            stack.append(THING)
        elif name in ("NEWTRUE", "NEWFALSE"):
            stack.append(name == "NEWTRUE")
        elif name in ("EMPTY_DICT", "EMPTY_LIST", "EMPTY_SET"):
            stack.append(THING)
        elif name == "EMPTY_TUPLE":
            stack.append(())
        elif name == "MARK":
            stack.append(MARK)
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            count = int(name[-1])
            stack[-count:] = [tuple(stack[-count:])]
        elif name == "TUPLE":
            stack.append(tuple(self._since_mark()))
        elif name in ("LIST", "DICT", "FROZENSET"):
            self._since_mark()
            stack.append(THING)
        elif name in ("APPENDS", "SETITEMS", "ADDITEMS", "POP_MARK"):
            self._since_mark()
        elif name in ("APPEND", "POP"):
            stack.pop()
        elif name == "SETITEM":
            del stack[-2:]
        elif name == "DUP":
            stack.append(stack[-1])
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[int(argument)] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[int(argument)])
        elif name == "GLOBAL":
            stack.append(self._name(argument))
        elif name in ("REDUCE", "NEWOBJ"):
            given = stack.pop()
            stack[-1] = self._made(stack[-1], given)
        elif name == "BUILD":
            stack.pop()
            if stack[-1] is not THING:
                raise OutlineError("changes a tensor after it was made; save it again")
        elif name == "BINPERSID":
            stack.append(self._storage(stack.pop()))
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise ForbiddenNameError(name)

    def _since_mark(self) -> list[Any]:
        place = len(self.stack) - 1
        while self.stack[place] is not MARK:
            place -= 1
            if place < 0:
                raise IndexError
        taken = self.stack[place + 1 :]
        del self.stack[place:]
        return taken

    def _name(self, text: str) -> _Name:
        dotted = text.replace(" ", ".").replace("__builtin__.", "builtins.")
        module, _, last = dotted.rpartition(".")
        if module == "torch" and last.endswith("Storage") and last.removesuffix("Storage") not in DTYPES:
            kind = "complex" if "Complex" in last else "quantised" if last.startswith(("Q", "U")) else last
            raise OutlineError(f"holds {kind} tensors; save them as floats")
        if module == "torch._utils" and "rebuild" in last:
            if "qtensor" in last:
                raise OutlineError("holds quantised tensors; save them as floats")
            if any(word in last for word in SPARSE):
                raise OutlineError("holds sparse tensors or tensors without values; save dense ones")
        if dotted == "torch.serialization._get_layout":
            raise OutlineError("holds sparse tensors; save dense ones")
        if module == "torch.storage" or dotted == "torch._utils._rebuild_tensor_v3":
            raise OutlineError("holds numbers of a type that no network here has; save them as floats")
        known = dotted in REBUILDS or dotted in PLAIN or dotted in self.allowed or dotted in OTHERS
        dtype = module == "torch" and last in NUMBERS
        storage = module == "torch" and last.removesuffix("Storage") in DTYPES
        if not (known or dtype or storage):
            raise ForbiddenNameError(dotted)
        return _Name(dotted)

    def _made(self, called: Any, given: Any) -> Any:
        if not isinstance(called, _Name) or not isinstance(given, tuple):
            raise OutlineError("is damaged (it calls what can't be called)")
        name = called.dotted
        if name in REBUILDS:
            REBUILDS[name](self, given)
            return TENSOR
        if name == "_codecs.encode":
            if len(given) != 2 or given[1] not in ("latin1", "latin-1"):
                raise OutlineError("is damaged (bytes in an odd encoding)")
            return THING
        if name == "builtins.bytearray":
            if given and not (given[0] is THING or (isinstance(given[0], str) and len(given) == 2)):
                raise OutlineError("makes an empty buffer of any size; a file that does that is not opened")
            return THING
        if name in PLAIN or name in self.allowed:
            return THING
        raise ForbiddenNameError(name)

    def _storage(self, identity: Any) -> StoredNumbers:
        """Of what ``torch.save`` writes in a storage's place: ("storage", type, key, device, count[, view])."""
        word, kind, key, _, count = identity[:5]
        view = identity[5] if len(identity) > 5 else None
        if word != "storage" or not isinstance(kind, _Name) or not _whole(count) or not isinstance(key, str):
            raise OutlineError("is damaged (a storage that is none)")
        if view is not None:  # PyTorch 0.1's; it lies within another one
            raise OutlineError("is of a version of PyTorch before 0.4; save it anew with a later one")
        itemsize = DTYPES[kind.dotted.removeprefix("torch.").removesuffix("Storage")]
        stored = self.found.storages.setdefault(key, StoredNumbers(key, itemsize, count))
        if stored != StoredNumbers(key, itemsize, count):
            raise OutlineError("is damaged (one storage of two sizes)")
        return stored

    def tensor(self, given: tuple[Any, ...]) -> None:
        """Of (storage, offset, shape, strides, …)."""
        storage, offset, shape, strides = given[:4]
        if not isinstance(storage, StoredNumbers) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
            raise OutlineError("is damaged (a tensor without storage)")
        if len(shape) != len(strides) or not all(map(_whole, (offset, *shape, *strides))):
            raise OutlineError("is damaged (a shape that is none)")
        what = f"a tensor of shape {shape}" if len(shape) <= HIGHEST_RANK else f"a tensor of {len(shape)} dimensions"
        if len(shape) > HIGHEST_RANK:
            raise OutlineError(f"holds {what}; more than {HIGHEST_RANK} are not read")
        self.found.tensors += 1
        if 0 in shape:
            return
        span = 1 + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        if offset + span > storage.count:
            raise OutlineError(f"holds {what} of which only {storage.count} numbers are there")
        if math.prod(shape) > span:
            raise OutlineError(f"holds {what} that repeats {storage.count} numbers; save its .contiguous()")

    def parameter(self, given: tuple[Any, ...]) -> None:
        """Of (tensor, …), which stays what it is."""
        if not given or given[0] is not TENSOR:
            raise OutlineError("is damaged (a parameter without a tensor)")


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62


REBUILDS: dict[str, Callable[[_Machine, tuple[Any, ...]], None]] = {
    "torch._utils._rebuild_tensor": _Machine.tensor,
    "torch._utils._rebuild_tensor_v2": _Machine.tensor,
    "torch._utils._rebuild_parameter": _Machine.parameter,
    "torch._utils._rebuild_parameter_with_state": _Machine.parameter,
}
OTHERS = {"_codecs.encode", "builtins.bytearray"}
NUMBERS = {
    "float64", "float32", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool", "double", "float",
    "half", "long", "int", "short",
}  # fmt: skip
