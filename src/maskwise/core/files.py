"""Atomic writes: what a reader sees is always whole, and what a kill leaves half-made goes with the next write."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

from maskwise.core.errors import InputError

TEMPORARY = ".tmp"
# What is being made is named after who makes it: a number of the machine, and the process's.
OWNER = r"-(?P<machine>[0-9a-f]{8})-(?P<process>\d{1,9})"
FOLDER, FILE = re.compile(rf"\.(writing|old){OWNER}-\w+"), re.compile(rf"\..*{OWNER}\.tmp.*", re.S)


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
    _sweep(folder.resolve(), os.getpid())


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


def temporary_beside(path: Path) -> Path:
    """Where to make what will be renamed to ``path``; a later process knows the name, should this one be killed."""
    return path.with_name(f".{path.stem[:60]}-{_owner()}{TEMPORARY}{path.suffix}")


@contextmanager
def atomic_write(path: str | Path) -> Iterator[Path]:
    """Gives a temporary name beside ``path``; on success it is synced and renamed, on failure removed.

    Raises:
        InputError: the folder can't be written to, or the disk is full.
    """
    path = Path(path)
    writable_folder(path.parent)
    temporary = temporary_beside(path)
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
    temporary = Path(tempfile.mkdtemp(prefix=f".writing-{_owner()}-", dir=path.parent))
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


def _replace_folder(new: Path, path: Path) -> None:
    """A full folder can't be renamed over: the old one steps aside first, and comes back if the new one fails."""
    if not path.is_dir():
        os.replace(new, path)
        return
    aside = Path(tempfile.mkdtemp(prefix=f".old-{_owner()}-", dir=path.parent))
    old = aside / path.name  # so that a later sweep can bring it back
    try:
        os.replace(path, old)
        os.replace(new, path)
    except BaseException:  # Ctrl-C among them
        if old.exists() and not path.exists():
            os.replace(old, path)
        raise
    finally:
        if path.exists():  # else what is aside is all there is
            shutil.rmtree(aside, ignore_errors=True)


def _owner() -> str:
    return f"{zlib.crc32(platform.node().encode('utf-8', 'replace')):08x}-{os.getpid()}"


@cache
def _sweep(folder: Path, process: int) -> None:
    """Once in a process, removes what processes of this machine that are gone left half-made in ``folder``.

    A folder that was set aside for a new one comes back where neither is in its place.
    """
    if os.name == "nt":  # where to ask for a process could end it
        return
    here = _owner().partition("-")[0]
    with suppress(OSError):  # it is only tidying: what can't be removed stays
        for left in [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(".")]:
            found = FOLDER.fullmatch(left.name) or FILE.fullmatch(left.name)
            if found is None or found["machine"] != here or _lives(int(found["process"])):
                continue
            if left.name.startswith(".old-"):
                for old in left.iterdir():
                    if not (left.parent / old.name).exists():
                        os.replace(old, left.parent / old.name)
            if left.is_dir() and not left.is_symlink():
                shutil.rmtree(left)
            else:
                left.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True


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


def is_file(path: str | Path) -> bool:
    """Is there a file of this name? Of one that is too long, or holds a zero, Path's own question raises an error."""
    return os.path.isfile(path)  # noqa: PTH113


def why_no_folder(path: str | Path) -> str:
    """What a path is that is no folder, for the line that refuses it."""
    return "is a file, not a folder" if is_file(path) else "no such folder"
