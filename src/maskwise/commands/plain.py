"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

import maskwise
from maskwise.commands.flags import flags_of, running, with_flags
from maskwise.core.alike import count_alike
from maskwise.core.errors import InputError
from maskwise.core.text import printable

INTERRUPTED = 130  # a shell's exit code after Ctrl-C
HOME = Path(maskwise.__file__).parent


def complain(error: BaseException | str) -> None:
    """One line on stderr, which names the options of the command that runs."""
    typer.echo(f"maskwise: {printable(' '.join(with_flags(str(error)).split()))}", err=True)


def warn_plainly() -> None:
    """Our own warnings are one line, without the line of code that gave them; those of other packages stay theirs."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        if category is UserWarning and Path(filename).is_relative_to(HOME):
            complain(f"warning: {message}")
        else:
            usual(message, category, filename, *rest)

    warnings.showwarning = show  # type: ignore[assignment]


def speaks_plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Bad input leaves one line on stderr and exit code 2; so does Ctrl-C, with 130."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = running.set(flags_of(command))
        try:
            return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as error:
            complain(str(error) or "interrupted")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            for line in count_alike():
                complain(f"warning: {line}")
            running.reset(before)

    return run
