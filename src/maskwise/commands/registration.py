"""How a command is registered and found: each stands in a file of its own, and nothing lists them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, TypeVar

import typer

import maskwise.commands
from maskwise.commands.groups.ungrouped import ungrouped
from maskwise.commands.help import GroupedOptions, SectionedCommands
from maskwise.commands.plain import speaks_plainly

SECTIONS = ("Explain", "Measure", "Train", "Files", "What there is", "Laboratory")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: as it is called, with the word of its group before it: ``explain``, ``check mprt``.
        section: heading in ``maskwise --help``.
        example: lines that ``--help`` shows.
        function: takes options by keyword; groups (dataclasses) among them.
    """

    name: str
    section: str
    example: str
    function: Callable[..., Any]


commands: dict[str, Command] = {}


def command(name: str, *, section: str, example: str) -> Callable[[F], F]:
    """Decorator that registers a function as a command; its docstring is the help.

    Args:
        name: one word, or two for a command of a group, which its package's docstring describes.
        section: heading in ``maskwise --help``.
        example: a call that works, shown below the options.

    Example:
        >>> @command("greet", section="Explain", example="maskwise greet")
        ... def greet_command() -> None:
        ...     '''Says hello.'''
        >>> commands.pop("greet").function is greet_command
        True
    """

    def file(function: F) -> F:
        if name in commands:
            raise KeyError(f"command {name!r} is registered twice")
        commands[name] = Command(name, section, example, function)
        return function

    return file


def _import_commands() -> None:
    """Imports every file of ``maskwise.commands``, which registers what is in it."""
    home = maskwise.commands
    for module in walk_packages(home.__path__, f"{home.__name__}."):
        import_module(module.name)


def build(name: str, help: str) -> typer.Typer:
    """The program of all commands that are found, those of a section in alphabetical order."""
    _import_commands()
    app = _typer(name=name, help=help, add_completion=True, pretty_exceptions_enable=False)
    groups: dict[str, typer.Typer] = {}
    for one in sorted(commands.values(), key=_place):
        first, _, second = one.name.partition(" ")
        if second and first not in groups:
            groups[first] = _typer()
            told = (import_module(f"{maskwise.commands.__name__}.{first}").__doc__ or "").partition("\n")[0]
            app.add_typer(groups[first], name=first, help=told, rich_help_panel=one.section)
        home = groups[first] if second else app
        add = home.command(second or first, cls=GroupedOptions, epilog=one.example, rich_help_panel=one.section)
        add(speaks_plainly(ungrouped(one.function)))
    return app


def _typer(**options: Any) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, cls=SectionedCommands, **options)


def _place(one: Command) -> tuple[int, str, str]:
    place = SECTIONS.index(one.section) if one.section in SECTIONS else len(SECTIONS)
    return place, one.section, one.name
