"""Atomic writes: what a reader sees is always whole."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from maskwise.core.errors import InputError

TEMPORARY, WRITING, ASIDE = ".tmp", ".writing-", ".old-"


def remove_leftovers(folder: Path) -> None:
    """Removes what ``atomic_write`` could not when it was killed; for who alone writes to ``folder``."""
    for left in folder.glob(f".*{TEMPORARY}*"):
        left.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Says before any work whether folder ``path`` can be made and written to; creates nothing.

    Raises:
        InputError: a file is in the way, or it may not be written.
    """
    folder = Path(path)
    try:
        while not folder.exists() and folder != folder.parent:
            folder = folder.parent
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise unwritable(path, error) from None


def writable_folder(path: str | Path) -> Path:
    """``path`` as an existing folder that can be written to.

    Raises:
        InputError: a file is in the way, or it may not be written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(path, error) from None
    check_writable(path)
    return path


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; on success it is synced and renamed, on failure removed.

    Raises:
        InputError: the folder can't be written to, or the disk is full.
    """
    path = Path(path)
    writable_folder(path.parent)
    temporary = path.with_name(f".{path.stem[:60]}.{os.getpid()}{TEMPORARY}{path.suffix}")
    try:
        yield temporary
        _sync(temporary)
        os.replace(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Gives a temporary folder that takes the place of folder ``path`` on success and disappears on failure.

    Raises:
        InputError: the folder can't be written to, a file is in the way, or the disk is full.
    """
    path = Path(path)
    writable_folder(path.parent)
    _clear_up(path)
    temporary = Path(tempfile.mkdtemp(prefix=f"{WRITING}{_who()}-", dir=path.parent))
    try:
        temporary.chmod(0o755)
        yield temporary
        for written in temporary.rglob("*"):
            _sync(written)
        _replace_folder(temporary, path)
        _sync(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _clear_up(path: Path) -> None:
    """What ``atomic_folder`` could not do when it was killed: half-written folders go; the old one comes back.

    A temporary folder bears machine and number of its process. One of a process that is there, or of another machine,
    is left alone.
    """
    for left in [*path.parent.glob(f"{WRITING}*"), *path.parent.glob(f"{ASIDE}*")]:
        machine, _, rest = left.name.removeprefix(WRITING).removeprefix(ASIDE).partition("+")
        number = rest.partition("-")[0]
        if machine != _machine() or not number.isdecimal() or _is_there(int(number)):
            continue
        with suppress(OSError):
            if left.name.startswith(ASIDE) and (left / path.name).is_dir() and not path.exists():
                os.replace(left / path.name, path)
            if not left.name.startswith(ASIDE) or not any(one.name != path.name for one in left.iterdir()):
                shutil.rmtree(left, ignore_errors=True)


def _machine() -> str:
    return re.sub(r"[^\w.]", "_", platform.node())[:40]


def _who() -> str:
    return f"{_machine()}+{os.getpid()}"


def _is_there(process: int) -> bool:
    if os.name == "nt":  # where signal 0 would end it
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it is another user's
        return True
    return True


def _replace_folder(new: Path, path: Path) -> None:
    """A full folder can't be renamed over: the old one steps aside first, and comes back if the new one fails."""
    if not path.is_dir():
        os.replace(new, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f"{ASIDE}{_who()}-", dir=path.parent))
    old = aside / path.name
    os.replace(path, old)
    try:
        os.replace(new, path)
    except OSError:
        os.replace(old, path)
        raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _sync(path: Path) -> None:
    """Onto the disk before the rename, so that a power cut leaves the old or the new, never an empty file."""
    if os.name == "nt":  # where folders can't be opened
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def unwritable(path: str | Path, error: OSError) -> InputError:
    return InputError(f"can't write to {str(path)!r}: {error.strerror or error}; name another place with `out`")
