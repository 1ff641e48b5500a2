"""How a command is registered and found: each stands in a file of its own, and nothing lists them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pkgutil import walk_packages
from typing import Any, TypeVar

import typer
import typer.main

import maskwise.commands
from maskwise.commands.groups.ungrouped import ungrouped
from maskwise.commands.help import GroupedOptions, SectionedCommands
from maskwise.commands.plain import speaks_plainly
from maskwise.commands.sources import sources_first
from maskwise.commands.stopped import After

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
        after: how it is gone on with when it was stopped.
    """

    name: str
    section: str
    example: str
    function: Callable[..., Any]
    after: After = "anew"


commands: dict[str, Command] = {}


def command(name: str, *, section: str, example: str, after: After = "anew") -> Callable[[F], F]:
    """Decorator that registers a function as a command; its docstring is the help.

    Args:
        name: one word, or two for a command of a group, which its package's docstring describes.
        section: heading in ``maskwise --help``.
        example: a call that works, shown below the options.
        after: what SIGINT and SIGTERM leave: ``resume``, what --resume goes on with; ``same``, what the same command
            goes on with where it has an --out; ``anew``, whole files at most; ``service``, nothing to go on with.

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
        commands[name] = Command(name, section, example, function, after)
        return function

    return file


def _import_commands() -> None:
    """Imports every file of ``maskwise.commands``, which registers what is in it."""
    home = maskwise.commands
    for module in walk_packages(home.__path__, f"{home.__name__}."):
        import_module(module.name)


def build(name: str, help: str) -> typer.Typer:
    """The program of all commands that are found, those of a section in alphabetical order.

    A command is made when it is called: typer reads the options of all of them in a tenth of a second.
    """
    _import_commands()
    makers: dict[str, Callable[[], Any]] = {}
    for one in sorted(commands.values(), key=_place):
        first, _, second = one.name.partition(" ")
        if not second:
            makers[first] = partial(_single, one, first)
        elif first not in makers:
            makers[first] = partial(_group, first, one.section)
    return _typer(makers, name=name, help=help, add_completion=True)


class _WhenCalled(Mapping[str, Any]):
    """The commands of a group by name, each made when it is first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Any]]) -> None:
        self.makers, self.made = makers, dict[str, Any]()

    def __getitem__(self, name: str) -> Any:
        if name not in self.made:
            self.made[name] = self.makers[name]()
        return self.made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.makers)

    def __len__(self) -> int:
        return len(self.makers)


def _typer(makers: Mapping[str, Callable[[], Any]], **options: Any) -> typer.Typer:
    """A group of the commands that ``makers`` make."""

    class Group(SectionedCommands):
        def __init__(self, **given: Any) -> None:
            super().__init__(**given | {"commands": _WhenCalled(makers)})

    made = typer.Typer(
        no_args_is_help=True, rich_markup_mode=None, cls=Group, pretty_exceptions_enable=False, **options
    )
    made.callback()(lambda: None)  # without one typer takes a program without commands for none
    return made


def _single(one: Command, name: str) -> Any:
    alone = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)
    add = alone.command(name, cls=GroupedOptions, epilog=one.example, rich_help_panel=one.section)
    add(speaks_plainly(sources_first(ungrouped(one.function)), one.after))
    return typer.main.get_command(alone)


def _group(first: str, section: str) -> Any:
    """The commands of two words with this as the first."""
    told = (import_module(f"{maskwise.commands.__name__}.{first}").__doc__ or "").partition("\n")[0]
    makers = {}
    for one in sorted(commands.values(), key=_place):
        home, _, second = one.name.partition(" ")
        if second and home == first:
            makers[second] = partial(_single, one, second)
    made: Any = typer.main.get_command(_typer(makers, name=first, help=told, add_completion=False))
    made.rich_help_panel = section  # typer keeps that of a group only where it adds the group itself
    return made


def _place(one: Command) -> tuple[int, str, str]:
    place = SECTIONS.index(one.section) if one.section in SECTIONS else len(SECTIONS)
    return place, one.section, one.name
