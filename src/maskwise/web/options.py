"""Options of methods that a stranger may set: numbers within bounds, switches, named choices and layers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maskwise.core.errors import InputError
from maskwise.core.options import in_range, one_of
from maskwise.explainers import methods

MOST = 4  # times its usual value, which bounds the time and memory that a stranger can ask for
SEEDS = 2**31 - 1
LONGEST_OPTIONS = 1000  # characters of all of them
LAYERS = ("layer", "inversion_layer")
# Files, sizes of batches, and texts that name further parts of the program are the server's own affair.
KEPT = ("masker", "batch")
Reader = Callable[[str], Any]


@cache
def open_options(method: str) -> dict[str, tuple[str, Reader]]:
    """By name: what an option takes, in words, and what makes a value of a text.

    Args:
        method: as ``maskwise methods`` lists it.
    """
    made: Any = methods.get(method)
    try:
        hints = get_type_hints(made.__init__)
    except NameError:  # a type that is imported for type checkers only
        hints = {}
    found = {}
    for name, parameter in list(inspect.signature(made).parameters.items())[1:]:
        if name not in KEPT and (one := _reader(name, parameter.default, hints.get(name))) is not None:
            found[name] = one
    return found


def _reader(name: str, usual: Any, kind: Any) -> tuple[str, Reader] | None:
    if name in LAYERS:
        return "a layer's name", str
    if get_origin(kind) is Literal:
        return f"{' or '.join(map(str, get_args(kind)))}, usually {usual}", _choice(name, get_args(kind))
    if isinstance(usual, bool):
        return f"true or false, usually {str(usual).lower()}", _switch(name)
    if name == "seed":
        return "a whole number", _number(name, SEEDS, int)
    if isinstance(usual, (int, float)):
        return f"up to {MOST * usual:g}, usually {usual:.4g}", _number(name, MOST * usual, type(usual))
    return None


def _choice(name: str, choices: Sequence[Any]) -> Reader:
    def read(text: str) -> str:
        one_of(name, text, choices)
        return text

    return read


def _switch(name: str) -> Reader:
    def read(text: str) -> bool:
        one_of(name, text.lower(), ("true", "false"))
        return text.lower() == "true"

    return read


def _number(name: str, most: float, kind: type) -> Reader:
    def read(text: str) -> float:
        try:
            value = kind(text[:30])
        except ValueError:
            raise InputError(
                f"{name} must be {'a whole number' if kind is int else 'a number'}, not {text!r}"
            ) from None
        in_range(name, value, 0, most)
        return value  # type: ignore[no-any-return]

    return read


def options_said(method: str) -> str:
    """One line on a method's open options."""
    return "; ".join(f"{method}.{name} ({what})" for name, (what, _) in open_options(method).items())


def read_options(text: str | None, chosen: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Keywords for each chosen method that has some.

    Args:
        text: ``method.option=value``, several with commas, semicolons or new lines between.
        chosen: methods; options of others are passed over, so that a method can be taken out and in again.

    Raises:
        InputError: no such method, an option that it has not or that is not open, or a value out of its bounds.

    Example:
        >>> read_options("rise.masks=500, rise.keep=0.3, cam.layer=blocks.6", ["rise"])
        {'rise': {'masks': 500, 'keep': 0.3}}
    """
    found: dict[str, dict[str, Any]] = {}
    for part in filter(None, map(str.strip, re.split(r"[,;\n]", text or ""))):
        name, equals, value = part.partition("=")
        method, dot, option = name.strip().partition(".")
        if not (equals and dot and option.strip() and value.strip()):
            raise InputError(f"options are METHOD.option=value with commas between, not {part[:60]!r}")
        known = open_options(method)
        if option.strip() not in known:
            has = ", ".join(known) or "none"
            raise InputError(f"{method} has no option {option.strip()[:60]!r} that can be set here; it has {has}")
        read = known[option.strip()][1](value.strip())
        if method in chosen:
            found.setdefault(method, {})[option.strip()] = read
    return found
