"""Where shards lie: local files, URLs that fsspec knows, and commands that print a tar."""

from __future__ import annotations

import errno
import itertools
import os
import re
import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from maskwise.core.errors import InputError
from maskwise.core.reading import sha256_of
from maskwise.data.shard_cache import ShardCache, cache_folder, cache_limit

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # one letter is a drive
PIPE, ALLOW_PIPE = "pipe:", "MASKWISE_ALLOW_PIPE"
INDEX = ".index.json"  # in the place of .tar: what lies where in a shard
SET_INDEX, UNFINISHED = "index.json", "packing.json"  # of a folder of shards: all of them, or what is being packed
# PATTERN@key=value; an address may hold an @ of its own
ADDRESS_OPTIONS = re.compile(r"(.*)@(\w+=\w+(?:,\w+=\w+)*)", re.S)
BRACES = re.compile(r"\{(\d+)\.\.(\d+)\}|\{([^{}]*,[^{}]*)\}")
MOST = 1_000_000  # shards
MOST_OF_INDEX = 2**28  # bytes; a gigabyte of pictures of a kilobyte has one of half as many


def is_remote(text: str) -> bool:
    """Is a source a URL or a command?"""
    return text.startswith(PIPE) or URL.match(text) is not None


def are_shards(text: str) -> bool:
    """Does a source mean shards: a URL, a command, a .tar, or a folder that ``maskwise pack`` made?"""
    where = ADDRESS_OPTIONS.sub(r"\1", text)
    if is_remote(text) or where.endswith(".tar"):
        return True
    folder = Path(where)
    return not (folder / "images").is_dir() and any((folder / name).is_file() for name in (SET_INDEX, UNFINISHED))


def expanded(pattern: str) -> list[str]:
    """Every address that a pattern with braces stands for.

    Raises:
        InputError: it counts backwards, or to more than a million.

    Example:
        >>> expanded("{a,b}-{08..10}.tar")
        ['a-08.tar', 'a-09.tar', 'a-10.tar', 'b-08.tar', 'b-09.tar', 'b-10.tar']
    """
    parts: list[list[str]] = []
    end, count = 0, 1
    for found in BRACES.finditer(pattern):
        first, last, listed = found.groups()
        length = listed.count(",") + 1 if listed is not None else int(last[:12]) - int(first[:12]) + 1
        count *= length
        if length < 1 or count > MOST or len(last or "") > 12:
            raise InputError(f"{pattern}: {found[0]} must count upwards, and to at most {MOST:,} shards")
        width = len(first) if first else 0
        choices = (
            listed.split(",") if listed is not None else [f"{i:0{width}}" for i in range(int(first), int(last) + 1)]
        )
        parts += [[pattern[end : found.start()]], choices]
        end = found.end()
    parts.append([pattern[end:]])
    return ["".join(chosen) for chosen in itertools.product(*parts)]


@dataclass
class ShardFile:
    """One shard by its address.

    A local one is read in place. Of a URL or a command a copy is kept (see ``ShardCache``); without a cache a URL is
    read by ranges of bytes.

    Attributes:
        address: a path, a URL or ``pipe:COMMAND``.
        sha256: what the copy must have, where an index says so.
    """

    address: str
    sha256: str | None = None
    _copy: Path | None = field(default=None, repr=False, compare=False)

    @property
    def piped(self) -> bool:
        return self.address.startswith(PIPE)

    @property
    def local(self) -> bool:
        return not self.piped and URL.match(self.address) is None

    @property
    def cached(self) -> bool:
        """Is reading one picture a matter of having the whole shard here?"""
        return not self.local and (self.piped or cache_limit() > 0)

    def read(self, start: int, size: int) -> bytes:
        """Bytes ``start`` to ``start + size``.

        Raises:
            InputError: it can't be read, or ends before.
        """
        for _ in range(3):  # another process may make room in the cache between the two lines
            try:
                with self.opened() as file:
                    file.seek(start)
                    data = file.read(size)
                break
            except FileNotFoundError:
                self._copy = None
            except OSError as error:
                raise InputError(f"{self.address}: can't be read ({error.strerror or error})") from None
        else:
            raise InputError(f"{self.address}: no such file")
        if len(data) < size:
            raise InputError(f"{self.address}: ends before its index says; it is truncated, or the index is another's")
        return data

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The file itself, its copy, or a view on the remote one."""
        if self.local:
            with open(self.address, "rb") as file:
                yield file
        elif self.cached:
            with open(self._fetched(), "rb") as file:
                yield file
        else:
            with _remote(self.address) as (files, path), files.open(path, "rb", cache_type="none") as remote:
                yield cast(BinaryIO, remote)

    def bytes_and_version(self) -> tuple[int, str]:
        """Its size, 0 if unknown, and a text that changes with its content.

        Raises:
            InputError: it is not there.
        """
        if self.piped:
            return 0, ""
        if self.local:
            try:
                status = Path(self.address).stat()
            except OSError as error:
                why = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
                raise InputError(f"{self.address}: {why}") from None
            if not stat.S_ISREG(status.st_mode):  # a pipe would be waited for
                raise InputError(f"{self.address}: is not a file")
            return status.st_size, f"{status.st_size} {status.st_mtime_ns}"
        try:
            with _remote(self.address) as (files, path):
                return int(files.size(path) or 0), str(files.ukey(path))
        except FileNotFoundError:
            raise InputError(f"{self.address}: no such file") from None

    def index(self) -> bytes | None:
        """The file beside it that says what lies where in it; None if there is none."""
        if self.piped or not self.address.endswith(".tar"):
            return None
        return read_whole(self.address.removesuffix(".tar") + INDEX)

    def _fetched(self) -> Path:
        if self._copy is None or not self._copy.is_file():
            size, version = self.bytes_and_version()
            cache = ShardCache(cache_folder() / "shards", cache_limit())
            self._copy = cache.fetch(f"{self.address} {version}", size, self._download)
        else:
            os.utime(self._copy)
        return self._copy

    def _download(self, path: Path) -> None:
        if self.piped:
            _run(self.address.removeprefix(PIPE), path)
        else:
            with _remote(self.address) as (files, name), files.open(name, "rb") as source, open(path, "wb") as target:
                shutil.copyfileobj(source, target, 1 << 22)
        if self.sha256 is not None and sha256_of(path) != self.sha256:
            raise InputError(f"{self.address}: is not what its index says (SHA-256 differs); fetch or pack it again")


def read_whole(address: str) -> bytes | None:
    """A small file, by path or URL; None if it is not there.

    Raises:
        InputError: it can't be read.
    """
    try:
        if URL.match(address) is None:
            status = Path(address).stat()
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{address}: is not a file")
            if status.st_size > MOST_OF_INDEX:
                raise InputError(f"{address}: has more than {MOST_OF_INDEX >> 20} MB")
            return Path(address).read_bytes()
        with _remote(address) as (files, path):
            return cast(bytes, files.cat_file(path))  # rather than ask whether it is there: "no" may mean no answer
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{address}: can't be read ({error.strerror or error})") from None


@contextmanager
def _remote(address: str) -> Iterator[tuple[Any, str]]:
    """(file system, path there); what goes wrong becomes an ``InputError``."""
    import fsspec

    try:
        files, path = fsspec.core.url_to_fs(address)
        yield files, path
    except InputError:
        raise
    except FileNotFoundError as error:  # which clients also raise of a server that does not answer
        if _unreachable(error):
            raise InputError(f"{address}: its server can't be reached; is the address right, and is it up?") from None
        raise
    except ImportError as error:
        raise InputError(f"{address}: {error}; `pip install 'maskwise[scale]'` brings s3, gs and http") from None
    except ValueError as error:
        raise InputError(f"{address}: {' '.join(str(error).split())[:120]}") from None
    except Exception as error:  # each client of an object store raises errors of its own
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # the copy's trouble, not the source's
        if _unreachable(error):
            raise InputError(f"{address}: its server can't be reached; is the address right, and is it up?") from None
        why = " ".join(f"{type(error).__name__}: {error}".split())[:160]
        raise InputError(f"{address}: can't be read ({why})") from None


def _unreachable(error: BaseException) -> bool:
    """Does it come of a connection that was refused or broken, or of a name that nobody knows?"""
    at: BaseException | None = error
    while at is not None:
        if isinstance(at, (ConnectionError, socket.gaierror)):
            return True
        at = at.__cause__ or at.__context__
    return False


def _run(command: str, path: Path) -> None:
    """Runs a command in the shell, its output into ``path``; only where the environment allows it.

    The permission is not part of the source: a list of data sets may have been written by somebody else.
    """
    if os.environ.get(ALLOW_PIPE) != "1":
        raise InputError(f"pipe: runs {command[:60]!r} in a shell; if you trust it, set {ALLOW_PIPE}=1")
    with open(path, "wb") as target:
        done = subprocess.run(command, shell=True, stdin=subprocess.DEVNULL, stdout=target, stderr=subprocess.PIPE)
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", "replace").split())[-120:]
        raise InputError(f"pipe:{command[:60]}: ended with {done.returncode} ({said})")
