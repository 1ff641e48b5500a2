"""Copies of remote shards on the local disk: whole files, a size they stay below, shared by processes."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from maskwise.core.errors import InputError

FOLDER, LIMIT = "MASKWISE_CACHE", "MASKWISE_CACHE_GB"  # environment variables
DEFAULT_GB = 20.0
LOCKS = 64  # so many downloads at once; a lock file of each shard would never go away


def cache_folder() -> Path:
    """``$MASKWISE_CACHE``, else the user's cache folder."""
    given = os.environ.get(FOLDER)
    if given:
        return Path(given)
    base = os.environ.get("LOCALAPPDATA" if os.name == "nt" else "XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "maskwise"


def cache_limit() -> int:
    """Bytes that ``$MASKWISE_CACHE_GB`` allows; 0 is no cache.

    Raises:
        InputError: it is not a number.
    """
    text = os.environ.get(LIMIT, str(DEFAULT_GB))
    try:
        gigabytes = float(text)
        if not 0 <= gigabytes < float("inf"):
            raise ValueError
    except ValueError:
        raise InputError(f"{LIMIT} is {text!r}: give gigabytes, such as 20, or 0 for no cache") from None
    return int(gigabytes * 1e9)


@dataclass(frozen=True)
class ShardCache:
    """Files under keys, the least recently used of which go when there are too many bytes.

    A file that another process is reading may go as well: whoever has it open reads on, others fetch it again.

    Args:
        folder: made when it is needed.
        limit: bytes; one file may be larger than all of it.
    """

    folder: Path
    limit: int

    def fetch(self, key: str, size: int, download: Callable[[Path], None]) -> Path:
        """The file of that key, downloaded where it is not there.

        Args:
            key: address and version of the file.
            size: expected bytes, for which room is made; 0 if unknown.
            download: writes the file to the path that it is given.

        Raises:
            InputError: the folder can't be written to, the disk is full, or what ``download`` raises.
        """
        from filelock import FileLock

        path = self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.tar"
        if self._used(path):
            return path
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with FileLock(self.folder / f"lock-{int(path.stem[:8], 16) % LOCKS}"):
                if self._used(path):  # another process was faster
                    return path
                part = path.with_suffix(".part")  # that a killed process may have left: it is written anew
                self._make_room(size)
                try:
                    download(part)
                    os.replace(part, path)
                finally:
                    part.unlink(missing_ok=True)
                self._make_room(0, keep=path)
        except OSError as error:
            raise InputError(
                f"{self.folder}: can't keep a copy of a shard ({error.strerror or error}); set {FOLDER} to a folder "
                f"with room, or {LIMIT} to fewer gigabytes, or to 0 to read without copies"
            ) from None
        return path

    def _used(self, path: Path) -> bool:
        """Is it there? Then it was used last just now."""
        with suppress(PermissionError):  # in a cache that others own it stays as old as it is
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return path.is_file()

    def _make_room(self, size: int, keep: Path | None = None) -> None:
        found = []
        for path in self.folder.glob("*.tar"):
            with suppress(FileNotFoundError):  # another process makes room, too
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, path))
        total = size + sum(bytes_ for _, bytes_, _ in found)
        for _, bytes_, path in sorted(found):
            if total <= self.limit:
                return
            if path != keep:
                path.unlink(missing_ok=True)
                total -= bytes_
