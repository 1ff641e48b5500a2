"""The mechanism of groups: a command takes a dataclass and offers its fields as options."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Annotated, Any, get_args, get_origin, get_type_hints


def ungrouped(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with each parameter that is a dataclass replaced by the fields of that, for typer to read.

    A group may give a heading of ``--help``, ``heading``, and a context in which the command runs, ``applied()``.
    A default of the group's parameter gives its fields this command's own defaults. Where the command, or a group
    before it, has a parameter of a field's name, that one is offered and the field keeps its default.

    Example:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Size:
        ...     width: int = 2
        ...     height: int = 3
        >>> def area(name: str, *, size: Size = Size(height=4)) -> str:
        ...     return f"{name} {size.width * size.height}"
        >>> inspect.signature(ungrouped(area))
        <Signature (*, name: str, width: int = 2, height: int = 4)>
        >>> ungrouped(area)(name="door", width=5, height=3)
        'door 15'
    """
    hints = get_type_hints(command, include_extras=True)
    given = inspect.signature(command).parameters
    groups = {name: hints[name] for name in given if is_dataclass(hints[name]) and isinstance(hints[name], type)}
    taken = set(given) - set(groups)
    own: dict[str, list[str]] = {}  # the fields of each group that are offered
    parameters: list[inspect.Parameter] = []
    for name, parameter in given.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY))
            continue
        own[name] = [field.name for field in fields(groups[name]) if field.name not in taken]
        taken |= set(own[name])
        parameters += [_parameter(groups[name], field, parameter.default) for field in own[name]]

    @functools.wraps(command)
    def run(**options: Any) -> Any:
        with ExitStack() as contexts:
            made = {}
            for name, group in groups.items():
                default = given[name].default
                values = {} if default is inspect.Parameter.empty else _values(default)
                made[name] = group(**values | {field: options.pop(field) for field in own[name]})
            for group in made.values():
                if hasattr(group, "applied"):
                    contexts.enter_context(group.applied())
            return command(**options, **made)

    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


@functools.cache
def _hints(group: type[Any]) -> dict[str, Any]:
    """Of all fields; many commands take a group, and to read its annotations takes milliseconds."""
    return get_type_hints(group, include_extras=True)


def _values(group: Any) -> dict[str, Any]:
    return {field.name: getattr(group, field.name) for field in fields(group)}


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _parameter(group: type[Any], name: str, default: Any) -> inspect.Parameter:
    """A field as a parameter, under the heading of the class that defines it."""
    (field,) = (field for field in fields(group) if field.name == name)
    value = getattr(default, name) if default is not inspect.Parameter.empty else _default(field)
    annotation = _hints(group)[name]  # type: ignore[arg-type]
    home = next(kind for kind in group.__mro__ if name in vars(kind).get("__annotations__", {}))
    if get_origin(annotation) is Annotated and hasattr(home, "heading"):
        kind, option, *rest = get_args(annotation)
        option = copy.copy(option)  # several groups may share one
        option.rich_help_panel = option.rich_help_panel or home.heading
        annotation = Annotated.__class_getitem__((kind, option, *rest))
    empty = inspect.Parameter.empty if value is MISSING else value
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=empty, annotation=annotation)
