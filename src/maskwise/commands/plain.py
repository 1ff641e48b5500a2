"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

import maskwise
from maskwise.commands.flags import flags_of, running, with_flags
from maskwise.core.errors import LONGEST, InputError
from maskwise.core.text import printable, shortened

INTERRUPTED = 130  # a shell's exit code after Ctrl-C
LIGHTER = {  # options with which a command takes less memory
    "batch": "a smaller {}", "accumulate": "{} 2", "cache_gib": "{} 0", "size": "a smaller {}", "workers": "{} 1",
    "device": "{} cpu",
}  # fmt: skip
HOME = Path(maskwise.__file__).parent


def complain(error: BaseException | str) -> None:
    """One line on stderr of at most 300 signs, which names the options of the command that runs."""
    line = printable(" ".join(with_flags(str(error)).split()))
    typer.echo(shortened(f"maskwise: {line}", LONGEST), err=True)


def warn_plainly() -> None:
    """Our own warnings are one line, without the line of code that gave them; those of other packages stay theirs."""
    usual = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], filename: str, *rest: Any) -> None:
        if category is UserWarning and Path(filename).is_relative_to(HOME):
            complain(f"warning: {message}")
        else:
            usual(message, category, filename, *rest)

    warnings.showwarning = show  # type: ignore[assignment]


def what_helps(flags: Mapping[str, str]) -> str:
    """What to do where memory is not enough, with the options that the command has.

    Example:
        >>> what_helps({"batch": "--batch", "out": "--out", "device": "--device"})
        'try a smaller --batch or --device cpu, or end what else is running'
    """
    known = [text.format(flags[name]) for name, text in LIGHTER.items() if name in flags]
    listed = " or ".join(known) if len(known) < 3 else f"{', '.join(known[:-1])} or {known[-1]}"
    return f"try {listed}, or end what else is running" if known else "end what else is running, or take smaller files"


def speaks_plainly(command: Callable[..., Any]) -> Callable[..., Any]:
    """Bad input leaves one line on stderr and exit code 2; so does Ctrl-C, with 130, and a lack of memory, with 1."""

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = running.set(flags_of(command))
        try:
            return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None
        except (MemoryError, RuntimeError, OSError) as error:
            from maskwise.core.portions import out_of_memory  # with torch, which is loaded where memory can run out

            if not out_of_memory(error):
                raise
            complain(f"out of memory; {what_helps(running.get() or {})}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt as error:
            complain(str(error) or "interrupted")
            raise typer.Exit(INTERRUPTED) from None
        finally:
            running.reset(before)

    return run
