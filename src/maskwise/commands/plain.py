"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

import maskwise
from maskwise.commands.flags import flags_of, running, with_flags
from maskwise.commands.stopped import After, how_to_go_on, speaks, typed
from maskwise.core.alike import count_alike
from maskwise.core.errors import InputError
from maskwise.core.signals import handling, interrupt
from maskwise.core.text import printable

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


def speaks_plainly(command: Callable[..., Any], after: After = "anew") -> Callable[..., Any]:
    """Bad input leaves one line on stderr and exit code 2; SIGINT and SIGTERM leave one, with 130 and 143.

    Both end the command as an error would, so that what is half-made is removed; a training has handlers of its own
    meanwhile, which finish the step.

    Args:
        after: how the command is gone on with.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = running.set(flags_of(command))
        try:
            with handling(interrupt):
                return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt as error:
            if speaks():
                complain(how_to_go_on(str(error), after, kwargs.get("out") is not None, typed()))
            raise typer.Exit(128 + getattr(error, "number", signal.SIGINT)) from None
        finally:
            for line in count_alike():
                complain(f"warning: {line}")
            running.reset(before)

    return run
