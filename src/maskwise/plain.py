"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer
from rich.markup import escape

from maskwise.errors import InputError


def printable(text: object) -> str:
    """One line that moves no cursor: control characters, which a file may be called, and odd spaces are written out.

    Example:
        >>> printable("dog\\x1b[2J.jpg")
        'dog\\\\x1b[2J.jpg'
    """
    return "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(text))


def cell(text: object) -> str:
    """``printable`` for a table of rich, in which brackets would be styles."""
    return escape(printable(text))


def complain(error: Exception | str) -> None:
    typer.echo(f"maskwise: {printable(' '.join(str(error).split()))}", err=True)


def speaks_plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Bad input leaves one line on stderr and exit code 2."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None

    return run
