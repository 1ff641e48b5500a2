"""From the parameters that a message names to the options of the command that runs."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Annotated, Any, get_args, get_origin

from typer.models import OptionInfo

from maskwise.core.errors import PARAMETER

running: ContextVar[Mapping[str, str] | None] = ContextVar("running", default=None)  # of the command at work


def flags_of(command: Callable[..., Any]) -> dict[str, str]:
    """The long option of each parameter of a command; arguments have none."""
    found, words = dict[str, str](), dict[str, str]()
    for name, parameter in inspect.signature(command).parameters.items():
        annotation = parameter.annotation
        options = get_args(annotation)[1:] if get_origin(annotation) is Annotated else ()
        for option in options:
            if isinstance(option, OptionInfo):
                declared = (
                    option.default,
                    *(option.param_decls or ()),
                )  # within Annotated the first is a name
                long = [text.partition("/")[0] for text in declared if isinstance(text, str) and text.startswith("--")]
                found[name] = long[0] if long else f"--{name.replace('_', '-')}"
                # A parameter of the library's may have the option's word, where the command's own is another.
                words.setdefault(found[name].removeprefix("--").replace("-", "_"), found[name])
    return words | found


def with_flags(message: str, flags: Mapping[str, str] | None = None) -> str:
    """The message with options in place of the parameters in backticks that the command has.

    Args:
        message: of an ``InputError``.
        flags: option by parameter; None is those of the command that runs.

    Example:
        >>> flags = {"out": "--out", "resume": "--resume"}
        >>> with_flags("`resume=True` goes on; or name another `out`, or `seed=2`", flags)
        '--resume goes on; or name another --out, or `seed=2`'
    """
    known = (running.get() or {}) if flags is None else flags

    def option(found: re.Match[str]) -> str:
        name, value = found[1], found[2]
        if name not in known:
            return found[0]
        return known[name] if value in (None, "True") else f"{known[name]} {value}"

    return PARAMETER.sub(option, message)


def with_setting(message: str, option: str, given: Mapping[str, Any]) -> str:
    """The message, and after it the settings that it names, as they were given.

    Example:
        >>> with_setting("rise needs masks >= 2", "--set", {"masks": 1, "seed": 3})
        'rise needs masks >= 2 (--set masks=1)'
    """
    named = [f"{option} {key}={value}" for key, value in given.items() if re.search(rf"\b{re.escape(key)}\b", message)]
    return f"{message} ({', '.join(named)})" if named else message
