"""The command line. Heavy imports wait until a command needs them, so that ``maskwise --help`` is quick."""

from __future__ import annotations

import contextlib
import errno
import os
import sys

import typer

from maskwise.commands.plain import complain, warn_plainly
from maskwise.commands.registration import build

app = build("maskwise", "Which pixels of an image does a classifier use: this one, or any one?")


CLOSED = 141  # what a shell says of a program that SIGPIPE ended
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """Entry point; wrong options leave one line, as all bad input does.

    Output that is closed (``| head``, ``>&-``) ends it quietly with 141, as SIGPIPE would; a full disk behind it leaves
    one line.
    """
    _open_streams()
    warn_plainly()
    try:
        code = app(standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        _drop_output()
        sys.exit(CLOSED)
    except SystemExit:
        if type(sys.stdout).__name__ == "PacifyFlushWrapper":  # by which typer, too, marks a pipe that was closed
            sys.exit(CLOSED)
        raise
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:  # which nobody asked about before
            complain(f"a name is longer than a file's may be: {error.filename}")
            sys.exit(2)
        if error.errno not in FULL or error.filename is not None:
            raise
        _drop_output()
        complain(f"can't write to the standard output ({error.strerror})")
        sys.exit(1)
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


def _open_streams() -> None:
    """Python has None in the place of a closed stream. A pipe that nobody reads behaves as such a stream should."""
    if sys.stdout is None:
        unread, written = os.pipe()
        os.close(unread)
        sys.stdout = os.fdopen(written, "w")
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115, it is open as long as the program


def _drop_output() -> None:
    """What is still to be written goes nowhere, so that Python's own last words do not complain of it."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    main()
