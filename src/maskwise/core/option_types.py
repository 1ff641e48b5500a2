"""Values of options held against the types that their constructor names: one clear line for one that does not fit."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

from maskwise.core.errors import InputError
from maskwise.core.options import one_of

IS_SET = "set"  # in ``only_with``: any value but None
P = ParamSpec("P")
R = TypeVar("R")
OnlyWith = Mapping[str, Mapping[str, tuple[Any, ...] | str]]
MISFIT = object()
LARGEST = 2**63  # of whole numbers, as tensors have it
HIGHEST = 3.4e38  # what float32 holds: beyond it lies its infinity
WORDS = {int: "a whole number", float: "a finite number", bool: "true or false", str: "a text", NoneType: "nothing"}


class AsWritten(float):
    """A number that remembers its text: the layer 1.10 of a network is not its layer 1.1.

    Example:
        >>> AsWritten("1.10") == 1.1, str(AsWritten("1.10"))
        (True, '1.10')
    """

    text: str

    def __new__(cls, text: str, value: float | None = None) -> AsWritten:
        made = super().__new__(cls, text if value is None else value)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


def fitting(entry: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The options as plain values of the types that ``entry``, a class or function, names for its parameters.

    A bool is no number, a whole number is no text of digits, and NaN and infinity are no numbers of any option. Numbers
    and rows of NumPy and PyTorch become Python's. A default fits always, and so does anything where no type is named
    or a stranger's, and what ``entry`` names in ``own_words``, since it has a better line for it.

    Raises:
        InputError: a value of another type.

    Example:
        >>> def blur(sigma: float, reach: int | None = None): ...
        >>> fitting(blur, {"sigma": 2, "reach": None})
        {'sigma': 2, 'reach': None}
        >>> fitting(blur, {"sigma": float("nan")})
        Traceback (most recent call last):
        maskwise.core.errors.InputError: sigma must be a finite number, not nan
    """
    wanted, parameters = _types_of(entry), inspect.signature(entry).parameters
    own = getattr(entry, "own_words", ())
    found = {}
    for name, value in options.items():
        known = name in own or (name in parameters and value is parameters[name].default)
        made = value if known else _as(value, wanted.get(name, Any))
        if made is MISFIT:
            if get_origin(wanted[name]) is Literal:
                one_of(name, value, get_args(wanted[name]))
            raise InputError(f"{name} must be {_words(wanted[name])}, not {value!r}")
        if isinstance(made, int) and abs(made) >= LARGEST:
            raise InputError(f"{name} must be below 2^63, not {value}")
        found[name] = made
    return found


def played(entry: Callable[..., Any], options: Mapping[str, Any]) -> None:
    """Refuses an option that plays no part beside the others: nobody would see that it changes nothing.

    An entry says of an option by ``only_with`` which values of which other ones it belongs to; its default is no
    setting, and passes.

    Raises:
        InputError: an option that is set and does not count.

    Example:
        >>> class Fill:
        ...     only_with = {"sigma": {"kind": ("blur",)}}
        ...     def __init__(self, kind: str = "blur", sigma: float = 5): ...
        >>> played(Fill, {"sigma": 3})
        >>> played(Fill, {"sigma": 3, "kind": "mean"})
        Traceback (most recent call last):
        maskwise.core.errors.InputError: sigma=3 is of kind='blur' only, not 'mean'
    """
    rules: OnlyWith = getattr(entry, "only_with", {})
    defaults = {name: one.default for name, one in inspect.signature(entry).parameters.items()}
    for name in options.keys() & rules.keys():
        if options[name] == defaults[name]:
            continue
        for other, values in rules[name].items():
            found = options.get(other, defaults[other])
            if values == IS_SET and found is None:
                raise InputError(f"{name}={options[name]!r} needs {other}, too")
            if values != IS_SET and found not in values:
                said = " or ".join(f"{other}={value!r}" for value in values)
                raise InputError(f"{name}={options[name]!r} is of {said} only, not {found!r}")


def held_to_types(constructor: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a constructor that users call themselves: its arguments are held against their types.

    Raises:
        InputError: as ``fitting``.
    """
    signature = inspect.signature(constructor)

    @wraps(constructor)
    def checked(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        own = getattr(type(next(iter(given.arguments.values()))), "own_words", ())
        others = {name: value for name, value in given.arguments.items() if name not in own}
        given.arguments.update(fitting(constructor, others))
        return constructor(*given.args, **given.kwargs)

    return checked


@lru_cache(maxsize=512)
def _types_of(entry: Any) -> dict[str, Any]:
    """The types of an entry's parameters; none where they can't be read, as of a stranger's class."""
    try:
        return get_type_hints(getattr(entry, "__init__") if isinstance(entry, type) else entry)  # noqa: B009
    except (NameError, TypeError, AttributeError):
        return {}


def _as(value: Any, wanted: Any) -> Any:
    """The value as that type has it, or ``MISFIT``."""
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        made = [_as(value, one) for one in inner]
        return next((one for one in made if one is not MISFIT), MISFIT)
    if origin is Literal:
        return next((one for one in inner if type(one) is type(value) and one == value), MISFIT)
    if origin in (Sequence, list, tuple):
        return _row(value, inner[0])
    if wanted is Any:
        return value
    if origin is Callable:
        return value if callable(value) else MISFIT
    if wanted in (int, float):
        return _number(value, wanted)
    if wanted is str and not isinstance(value, bool) and isinstance(value, (AsWritten, Integral)):
        return str(value)  # a layer's name may be a number, and so it arrives from a command line
    if not isinstance(wanted, type):
        return value
    fits = isinstance(value, wanted) or (issubclass(wanted, os.PathLike) and isinstance(value, (str, os.PathLike)))
    return value if fits else MISFIT


def _number(value: Any, wanted: type) -> Any:
    if isinstance(value, bool) or not isinstance(value, Integral if wanted is int else Real):
        return MISFIT
    if isinstance(value, Integral):
        return int(value)
    return float(value) if abs(float(value)) <= HIGHEST else MISFIT  # of NaN nothing is true


def _row(value: Any, wanted: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value  # an array's, or a tensor's
    if isinstance(value, (str, bytes)) or not isinstance(value, Sequence):
        return MISFIT
    made = [_as(one, wanted) for one in value]
    return MISFIT if MISFIT in made else tuple(made) if isinstance(value, tuple) else made


def _words(wanted: Any) -> str:
    """What fits, in words.

    Example:
        >>> _words(int | Literal["all"]), _words(Sequence[float] | None)
        ("a whole number or 'all'", 'a list of finite numbers or nothing')
    """
    origin, inner = get_origin(wanted), get_args(wanted)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_words, inner)))
    if origin is Literal:
        return " or ".join(map(repr, inner))
    if origin in (Sequence, list, tuple):
        return f"a list of {_words(inner[0]).removeprefix('a ')}s"
    if isinstance(wanted, type) and issubclass(wanted, os.PathLike):
        return "a path"
    if origin is Callable:
        return "a function"
    return WORDS.get(wanted, getattr(wanted, "__name__", str(wanted)))
