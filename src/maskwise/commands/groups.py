"""Options that belong together, written once: a command takes a dataclass and offers its fields as options."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from typing import Any, get_type_hints


def ungrouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with each parameter that is a dataclass replaced by the fields of that, for typer to read.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Size:
        ...     width: int = 2
        ...     height: int = 3
        >>> def area(name: str, *, size: Size) -> str:
        ...     return f"{name} {size.width * size.height}"
        >>> inspect.signature(ungrouped(area))
        <Signature (*, name: str, width: int = 2, height: int = 3)>
        >>> ungrouped(area)(name="door", width=5, height=3)
        'door 15'
    """
    hints = get_type_hints(command, include_extras=True)
    groups = {name: hint for name, hint in hints.items() if is_dataclass(hint) and isinstance(hint, type)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        inner = get_type_hints(groups[name], include_extras=True)
        parameters += [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=inner[f.name])
            for f in fields(groups[name])
        ]

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        made = {name: group(**{f.name: given.pop(f.name) for f in fields(group)}) for name, group in groups.items()}
        return command(**given, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run
