"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer
from rich.markup import escape

from maskwise.core.errors import InputError

INTERRUPTED = 130  # a shell's exit code after Ctrl-C


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


def warn_plainly() -> None:
    """Our own warnings are one line, without the line of code that gave them; those of other packages stay theirs."""
    usual, home = warnings.showwarning, Path(__file__).parent

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        if category is UserWarning and Path(filename).is_relative_to(home):
            complain(f"warning: {message}")
        else:
            usual(message, category, filename, *rest)

    warnings.showwarning = show  # type: ignore[assignment]


def speaks_plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Bad input leaves one line on stderr and exit code 2; so does Ctrl-C, with 130."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as error:
            complain(str(error) or "interrupted")
            raise typer.Exit(INTERRUPTED) from None

    return run
