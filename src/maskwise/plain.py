"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import typer

from maskwise.errors import InputError


def complain(error: Exception) -> None:
    typer.echo(f"maskwise: {' '.join(str(error).split())}", err=True)


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
