"""Where files lie: a folder or a zip, read by many threads and processes at once."""

from __future__ import annotations

import os
import threading
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maskwise.errors import InputError
from maskwise.images import PICTURE_SUFFIXES


class Store:
    """Files by their path below a root, parted by ``/``."""

    path: Path

    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            InputError: it is not there or can't be read.
        """
        raise NotImplementedError

    def exists(self, name: str) -> bool:
        raise NotImplementedError

    def title(self, name: str) -> str:
        """What an error calls the file."""
        raise NotImplementedError

    def text(self, name: str) -> str:
        """The file as UTF-8 text."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.title(name)}: is not UTF-8 text") from None


@dataclass(frozen=True)
class Folder(Store):
    """Files below a folder."""

    path: Path

    def read(self, name: str) -> bytes:
        try:
            return (self.path / name).read_bytes()
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise InputError(f"{self.title(name)}: {'no such file' if missing else error.strerror}") from None

    def exists(self, name: str) -> bool:
        return (self.path / name).exists()

    def title(self, name: str) -> str:
        return str(self.path / name)

    def walk(self, below: str = "", suffixes: tuple[str, ...] = PICTURE_SUFFIXES) -> list[str]:
        """Names of all files with one of these suffixes, relative to folder ``below``, sorted."""
        root = self.path / below
        found = []
        for folder, _, files in os.walk(root, followlinks=True):
            inner = Path(folder).relative_to(root).as_posix()
            start = "" if inner == "." else inner + "/"
            found += [start + f for f in files if f.lower().endswith(suffixes) and not f.startswith(".")]
        return sorted(found)


class _Handle:
    """An open archive of one process: after a fork two processes would move one another's file position."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()  # ZipFile counts its open members without one
        try:
            self.zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile) as error:
            raise InputError(f"{path}: can't be read as a zip archive ({error})") from None
        self.names = set(self.zip.namelist())


@dataclass
class Archive(Store):
    """Files below the top folder of a zip archive, which is never unpacked."""

    path: Path
    top: str = ""
    _handle: _Handle | None = field(default=None, repr=False, compare=False)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_handle": None}

    @property
    def handle(self) -> _Handle:
        handle = self._handle
        if handle is None or handle.process != os.getpid():
            handle = self._handle = _Handle(self.path)
        return handle

    def names(self) -> set[str]:
        """All names, the top folder's included."""
        return self.handle.names

    def read(self, name: str) -> bytes:
        handle = self.handle
        try:
            with handle.lock:
                return handle.zip.read(self.top + name)
        except KeyError:
            raise InputError(f"{self.title(name)}: no such file in the archive") from None
        except (OSError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
            raise InputError(f"{self.title(name)}: can't be read ({error})") from None

    def exists(self, name: str) -> bool:
        return self.top + name in self.handle.names

    def title(self, name: str) -> str:
        return f"{self.path}:{name}"
