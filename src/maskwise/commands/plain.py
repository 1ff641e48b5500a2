"""Commands that speak plainly: bad input leaves one line on stderr and exit code 2."""

from __future__ import annotations

import functools
import signal
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import typer

import maskwise
from maskwise.commands.flags import flags_of, running, with_flags
from maskwise.commands.stopped import After, how_to_go_on, speaks, typed
from maskwise.core.alike import count_alike
from maskwise.core.errors import LONGEST, InputError
from maskwise.core.signals import handling, interrupt
from maskwise.core.text import printable, shortened

LIGHTER = {  # options with which a command takes less memory
    "batch": "a smaller {}", "accumulate": "{} 2", "cache_gib": "{} 0", "size": "a smaller {}", "workers": "{} 1",
    "device": "{} cpu",
}  # fmt: skip
HOME = Path(maskwise.__file__).parent


def complain(error: BaseException | str, longest: int | None = LONGEST) -> None:
    """One line on stderr of at most ``longest`` signs, which names the options of the command that runs."""
    line = f"maskwise: {printable(' '.join(with_flags(str(error)).split()))}"
    typer.echo(line if longest is None else shortened(line, longest), err=True)


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


def speaks_plainly(command: Callable[..., Any], after: After = "anew") -> Callable[..., Any]:
    """One line on stderr: of bad input with exit code 2, of lack of memory with 1, of SIGINT and SIGTERM with 130, 143.

    Signals end the command as an error would, so that what is half-made is removed; a training has handlers of its own
    meanwhile, which finish the step.

    Args:
        after: how the command is gone on with.
    """

    @functools.wraps(command)
    def run(*args: Any, **kwargs: Any) -> Any:
        before = running.set(flags_of(command))
        count_alike()  # what was read before is no part of this command
        try:
            with handling(interrupt):
                return command(*args, **kwargs)
        except InputError as error:
            complain(error)
            raise typer.Exit(2) from None
        except typer.Exit:  # a RuntimeError, too, by which what is wrong was said already
            raise
        except (MemoryError, RuntimeError, OSError) as error:
            from maskwise.core.portions import out_of_memory  # with torch, which is loaded where memory can run out

            if not out_of_memory(error):
                raise
            complain(f"out of memory; {what_helps(running.get() or {})}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt as error:
            if speaks():
                # Whole, since it holds a command that is to be typed again.
                complain(how_to_go_on(str(error), after, kwargs.get("out") is not None, typed()), longest=None)
            raise typer.Exit(128 + getattr(error, "number", signal.SIGINT)) from None
        finally:
            for line in count_alike():
                complain(f"warning: {line}")
            running.reset(before)

    return run
