"""The command line. Heavy imports wait until a command needs them, so that ``maskwise --help`` is quick."""

from __future__ import annotations

import contextlib
import os
import sys

import typer

from maskwise.commands.plain import complain, warn_plainly
from maskwise.commands.registration import build

app = build("maskwise", "Which pixels of an image does a classifier use: this one, or any one?")


def main() -> None:
    """Entry point; wrong options leave one line, as all bad input does; a closed pipe (``| head``) ends it quietly."""
    warn_plainly()
    try:
        code = app(standalone_mode=False)
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except typer.Abort:
        sys.exit(1)
    except Exception as error:
        # Click's errors, which typer has under names of its own; without a command the whole help is the answer.
        if not hasattr(error, "format_message"):
            raise
        if type(error).__name__ == "NoArgsIsHelpError":
            typer.echo(error.format_message(), err=True)
        else:
            complain(error.format_message())
        sys.exit(2)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
