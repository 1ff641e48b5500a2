"""How much a command says: ``--quiet`` and ``--verbose``."""

from __future__ import annotations

import contextlib
import functools
import inspect
import io
import logging
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from importlib import metadata
from typing import Annotated, Any

import typer

from maskwise.core.errors import InputError

Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No tables and no progress: files, what --json asks for, and errors.")
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say on stderr what is loaded and done, and where an error came from.")
]
log = logging.getLogger("maskwise")
_quiet = False


def shows_progress() -> bool:
    """Is there somebody who sees a bar, and wants to? In a pipe and in a log file there is not."""
    return sys.stderr.isatty() and not _quiet


def is_quiet() -> bool:
    """Was ``--quiet`` given?"""
    return _quiet


def with_volume(command: Callable[..., Any]) -> Callable[..., Any]:
    """The command with ``--quiet`` and ``--verbose`` after its own options."""

    @functools.wraps(command)
    def run(*args: Any, quiet: bool = False, verbose: bool = False, **kwargs: Any) -> Any:
        with (
            _silenced(kwargs) if quiet else contextlib.nullcontext(),
            _talking() if verbose else contextlib.nullcontext(),
        ):
            return command(*args, **kwargs)

    own = inspect.signature(command, eval_str=True)
    added = {"quiet": Quiet, "verbose": Verbose}
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in added.items()
    ]
    run.__signature__ = own.replace(parameters=[*own.parameters.values(), *extra])  # type: ignore[attr-defined]
    run.__annotations__ = {name: p.annotation for name, p in own.parameters.items()} | added
    return run


@contextlib.contextmanager
def _silenced(options: dict[str, Any]) -> Iterator[None]:
    """Nothing on stdout, unless it is what ``--json`` asks for."""
    global _quiet
    before, _quiet = _quiet, True
    with contextlib.nullcontext() if options.get("as_json") else contextlib.redirect_stdout(io.StringIO()):
        try:
            yield
        finally:
            _quiet = before


@contextlib.contextmanager
def _talking() -> Iterator[None]:
    """The package's log on stderr; bad input also shows where it was found."""
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
    except typer.Exit as leaving:
        if isinstance(leaving.__context__, InputError):
            traceback.print_exception(leaving.__context__)
        raise
    finally:
        log.removeHandler(handler)
        log.setLevel(before)
