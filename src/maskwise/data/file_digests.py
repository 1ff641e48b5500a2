"""Digests of files, remembered between runs by size, time and inode, so that a file is read for it once."""

from __future__ import annotations

import os
import sqlite3
import stat
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

from maskwise.core.errors import InputError
from maskwise.core.reading import sha256_of
from maskwise.data.shard_cache import cache_folder

READERS = min(8, 2 * (os.cpu_count() or 1))
YOUNG = 2_000_000_000  # nanoseconds; a file that was just written may change again within one tick of its clock
SCHEMA = "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, state TEXT NOT NULL, digest TEXT NOT NULL)"


def file_digests(paths: Iterable[Path]) -> dict[Path, str]:
    """The SHA-256 of each file's content, 32 hex digits of it.

    A file whose size, time of change and inode are those of last time is not read. What is remembered lies in the
    user's cache folder; where that can't be written, files are read each time.

    Raises:
        InputError: a file can't be read.
    """
    wanted = list(dict.fromkeys(paths))
    states = dict(zip(wanted, map(_state, wanted), strict=True))
    known = _remembered(wanted)
    unread = [path for path in wanted if known.get(path, ("", ""))[0] != states[path]]
    with ThreadPoolExecutor(READERS) as pool:
        fresh = dict(zip(unread, pool.map(_digest, unread), strict=True))
    _remember({path: (states[path], digest) for path, digest in fresh.items()})
    return {path: fresh[path] if path in fresh else known[path][1] for path in wanted}


def _state(path: Path) -> str:
    try:
        status = path.stat()
    except OSError as error:
        why = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"{path}: {why}") from None
    if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
        raise InputError(f"{path}: is not a file")
    return f"{status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)[:32]
    except OSError as error:
        raise InputError(f"{path}: can't be read ({error.strerror or error})") from None


def _name(path: Path) -> str:
    return os.path.realpath(path).encode("utf-8", "surrogateescape").hex()


def _place() -> Path:
    return cache_folder() / "digests.db"


def _remembered(paths: list[Path]) -> dict[Path, tuple[str, str]]:
    if not _place().is_file():
        return {}
    try:
        with closing(sqlite3.connect(_place(), timeout=10)) as database:
            found = {}
            for path in paths:
                row = database.execute("SELECT state, digest FROM digests WHERE path = ?", (_name(path),)).fetchone()
                if row is not None:
                    found[path] = (str(row[0]), str(row[1]))
            return found
    except sqlite3.Error:  # a broken memory is none
        return {}


def _remember(fresh: dict[Path, tuple[str, str]]) -> None:
    now = time.time_ns()
    old = [
        (_name(path), state, digest)
        for path, (state, digest) in fresh.items()
        if now - max(int(part) for part in state.split()[1:3]) > YOUNG
    ]
    if not old:
        return
    try:
        _place().parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(_place(), timeout=10)) as database, database:
            database.execute(SCHEMA)
            database.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", old)
    except (OSError, sqlite3.Error):
        pass
