"""What a command says, how much of it, and where its files go."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import typer

from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from rich.table import Table

HEADING = "Output"
Out = Annotated[Path, typer.Option("--out", help="Folder for the results.", rich_help_panel=HEADING)]
Advance = Callable[[int, int], None]  # of (done, total)
log = logging.getLogger("maskwise")


@dataclass(frozen=True)
class Volume:
    """How much a command says."""

    heading: ClassVar[str] = HEADING
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No tables and no progress: files, what --json asks for, and errors.")
    ] = False
    verbose: Annotated[
        bool,
        typer.Option("--verbose", "-v", help="Say on stderr what is loaded and done, and where an error came from."),
    ] = False
    no_progress: Annotated[bool, typer.Option("--no-progress", help="No bars; all else is said as ever.")] = False

    @property
    def shows_progress(self) -> bool:
        """Is there somebody who sees a bar, and wants to? In a pipe and in a log file there is not."""
        return sys.stderr.isatty() and not (self.quiet or self.no_progress)

    @contextlib.contextmanager
    def bar(self, what: str) -> Iterator[Advance | None]:
        """A progress bar on stderr where somebody looks at it: a function of (done, total)."""
        if not self.shows_progress:
            yield None
            return
        from rich.console import Console
        from rich.progress import Progress as Bars

        with Bars(console=Console(stderr=True), transient=True) as bars:
            task = bars.add_task(what, total=None)
            yield lambda done, total: bars.update(task, completed=done, total=total)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """While the command runs: nothing on stdout if it is quiet, and the package's log on stderr if verbose."""
        silence = contextlib.nullcontext() if self._prints else contextlib.redirect_stdout(io.StringIO())
        with silence, _talking() if self.verbose else contextlib.nullcontext():
            yield

    @property
    def _prints(self) -> bool:
        return not self.quiet


@dataclass(frozen=True)
class Output(Volume):
    """The same, of a command whose answer may be asked for as JSON."""

    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output on stdout.")] = False

    @property
    def _prints(self) -> bool:
        return self.as_json or not self.quiet

    def tell(self, facts: Any, *tables: Table, lines: tuple[str, ...] = ()) -> None:
        """The answer: ``facts`` as JSON where that was asked for, else tables, and lines below them."""
        if self.as_json:
            typer.echo(json.dumps(facts, indent=2, default=str))
            return
        if self.quiet:
            return
        from maskwise.commands.tables import print_table

        for table in tables:
            print_table(table)
        for line in lines:
            typer.echo(line)

    def also(self, *lines: str) -> None:
        """Lines below an answer that was told already, of what was made after it."""
        if not (self.as_json or self.quiet):
            for line in lines:
                typer.echo(line)


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    """The package's log on stderr; bad input also shows where it was found."""
    import platform
    import traceback
    from importlib import metadata

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before = log.level
    log.addHandler(handler)
    log.setLevel(logging.DEBUG)
    log.info(
        "maskwise %s, torch %s, Python %s",
        *(metadata.version(p) for p in ("maskwise", "torch")),
        platform.python_version(),
    )
    began = time.perf_counter()
    try:
        yield
        log.info("done after %.1f s", time.perf_counter() - began)
    except InputError as error:
        traceback.print_exception(error)
        raise
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
