"""One writer a folder: a lock of the operating system, which goes with the process however it ends."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from maskwise.core.errors import InputError
from maskwise.core.files import remove_leftovers, unwritable

LOCK, OWNER = ".lock", ".lock-owner"


@contextmanager
def locked(folder: str | Path, what: str = "run", wait: bool = False) -> Iterator[None]:
    """Holds ``folder`` for this process; a folder made for it that stays empty is removed again.

    The owner's number lies in a file beside the lock: some systems let nobody read a locked file.

    Args:
        folder: is created where it is missing.
        what: of which there may be one at a time, for the message.
        wait: until another process lets it go.

    Raises:
        InputError: another process holds it (its number is in the message), or the folder can't be written to.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as parent:
        ...     with locked(Path(parent) / "out"):
        ...         print(sorted(path.name for path in (Path(parent) / "out").iterdir()))
        ...     print((Path(parent) / "out").exists())
        ['.lock', '.lock-owner']
        False
    """
    folder = Path(folder)
    with ExitStack() as undo:
        try:
            missing = [f for f in (folder, *folder.parents) if not f.exists()]
            folder.mkdir(parents=True, exist_ok=True)
            undo.callback(_remove_empty, missing)
            lock = FileLock(folder / LOCK, timeout=-1 if wait else 0)
            lock.acquire()
            undo.callback(lock.release)
            undo.callback((folder / LOCK).unlink, missing_ok=True)  # before the release: it is still ours
            (folder / OWNER).write_text(f"process {os.getpid()} on {platform.node()}", encoding="utf-8")
            undo.callback((folder / OWNER).unlink, missing_ok=True)
            remove_leftovers(folder)
        except Timeout:
            raise InputError(
                f"{folder}: another {what} writes there ({_owner(folder)}); wait for it, end it, or name another `out`"
            ) from None
        except OSError as error:
            raise unwritable(folder, error) from None
        yield


def check_free(folder: Path, what: str = "run") -> None:
    """Says before any work whether another process holds ``folder``; raises as ``locked``."""
    if (folder / LOCK).is_file():  # which one that was killed leaves, too
        with locked(folder, what):
            pass


def holds_nothing(folder: Path) -> bool:
    """Is it missing, or empty but for a lock?"""
    return not folder.exists() or all(path.name in (LOCK, OWNER) for path in folder.iterdir())


def _owner(folder: Path) -> str:
    try:
        return (folder / OWNER).read_text(encoding="utf-8")
    except OSError:
        return "which one is unknown"


def _remove_empty(folders: list[Path]) -> None:
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # it is in use
            return
