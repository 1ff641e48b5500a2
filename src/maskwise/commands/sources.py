"""Pictures that are not there are refused before anything heavy is imported or loaded."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from maskwise.core.errors import InputError

F = TypeVar("F", bound=Callable[..., Any])
OPTIONS = ("data", "test_data", "held_out")


def sources_first(function: F) -> F:
    """The command, which first looks whether the paths that it is given as data or pictures are there."""

    @wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        for option in OPTIONS:
            value = given.get(option)
            for source in [value] if isinstance(value, str) else value or ():
                check_there(source)
        pictures: Any = given.get("pictures") or ()
        if len(pictures) == 1 and isinstance(pictures[0], Path):  # as text it is data, and of several some may be there
            check_file(pictures[0])
        return function(*args, **given)

    return cast(F, checked)


def check_file(picture: Path) -> None:
    """Raises InputError for a picture, or a folder of them, that isn't there; a URL is left to the reader."""
    try:
        there = ":" in str(picture) or picture.exists() or picture.is_symlink()
    except (OSError, ValueError):  # too long a name, or none that a system has: the reader says so
        return
    if not there:
        raise InputError(f"{picture}: no such file")


def check_there(source: str) -> None:
    """Raises InputError for a path with nothing there; all else (names, addresses, patterns) is left to the reader."""
    name, colon, rest = source.partition(":")
    named = bool(colon) and len(name) > 1  # one letter before a colon is a drive
    path = rest if named else source
    if not ("/" in path or "." in path) or name == "pipe" or path.startswith("//") or any(s in path for s in ":{*"):
        return
    try:
        there = any(Path(way).exists() for way in (source, path, path.rpartition("@")[0] or path))
    except OSError:  # a name that is too long: the reader says so
        return
    if not there:
        from maskwise.formats import NO_DATA

        raise InputError(f"{path}: nothing is there" if named else NO_DATA.format(source))
