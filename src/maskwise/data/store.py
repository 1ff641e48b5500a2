"""Where files lie: a folder or a zip, read by many threads and processes at once."""

from __future__ import annotations

import os
import stat
import threading
import zipfile
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.reading import DAMAGED_ZIP
from maskwise.core.walk import files_below
from maskwise.formats import PICTURE_SUFFIXES

MOST_BYTES, MOST_TEXT = 2**28, 2**25  # that a picture or a table in an archive may unpack to: it may be a bomb


class Store(ABC):
    """Files by their path below a root, parted by ``/``."""

    path: Path

    @abstractmethod
    def read(self, name: str) -> bytes:
        """The file's bytes.

        Raises:
            InputError: it is not there or can't be read.
        """

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Is there such a file?"""

    @abstractmethod
    def title(self, name: str) -> str:
        """What an error calls the file."""

    def text(self, name: str) -> str:
        """The file as UTF-8 text."""
        try:
            return self.read(name).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise InputError(f"{self.title(name)}: is not UTF-8 text") from None


@dataclass(frozen=True)
class Folder(Store):
    """Files below a folder.

    Attributes:
        follow: go where links lead, also out of the folder.
        beside: names of folders out of it that the data set's layout knows.
    """

    path: Path
    follow: bool = False
    beside: tuple[str, ...] = ()

    def read(self, name: str) -> bytes:
        path = self.inside(name)
        try:
            if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
                raise InputError(f"{self.title(name)}: is not a file")
            return path.read_bytes()
        except OSError as error:
            missing = isinstance(error, FileNotFoundError)
            raise InputError(f"{self.title(name)}: {'no such file' if missing else error.strerror}") from None

    def exists(self, name: str) -> bool:
        return os.path.exists(self.path / name)  # noqa: PTH110, Path's own raises at a name that is too long

    def title(self, name: str) -> str:
        return str(self.path / name)

    def walk(self, below: str = "", suffixes: tuple[str, ...] = PICTURE_SUFFIXES, deep: bool = True) -> list[str]:
        """Names of all files with one of these suffixes, relative to folder ``below``, sorted (see ``files_below``).

        Raises:
            InputError: a link that leaves the folder, or links in a circle.
        """
        self.inside(below)

        def inside(name: str) -> Path:
            return self.inside(f"{below}/{name}" if below else name)

        return files_below(self.path / below, suffixes, inside, deep=deep)

    def inside(self, name: str) -> Path:
        """The path of a name that begins and ends in the folder: names also come from listings that strangers wrote."""
        path = self.path / name
        known = next((place for place in self.beside if name.startswith(place)), "")
        if "\0" in name or Path(name).anchor or ".." in PurePosixPath(name[len(known) :]).parts:
            raise InputError(f"{self.path}: {name!r} is not a name below that folder")
        if self.follow:
            return path
        places = [os.path.realpath(self.path / place) for place in ("", *self.beside)]
        real = os.path.realpath(path)
        if not any(real == place or real.startswith(place.rstrip(os.sep) + os.sep) for place in places):
            raise InputError(f"{path}: is a link out of {self.path}; if you trust it, write {self.path}@links=follow")
        return path


TABLES = (".csv", ".txt", ".json", ".xml")
UNREADABLE = (OSError, *DAMAGED_ZIP)


class _Handle:
    """An open archive of one process: after a fork two processes would move one another's file position."""

    def __init__(self, path: Path) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()  # ZipFile counts its open members without one
        try:
            self.zip = zipfile.ZipFile(path)
        except UNREADABLE as error:
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
        handle, most = self.handle, MOST_TEXT if name.endswith(TABLES) else MOST_BYTES
        try:
            with handle.lock:
                member = handle.zip.getinfo(self.top + name)
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile can't bound others
                    raise InputError(f"{self.title(name)}: is compressed by another method than deflate; zip it anew")
                if member.file_size > most:
                    raise InputError(f"{self.title(name)}: unpacks to more than {most >> 20} MB")
                with handle.zip.open(member) as packed:
                    return packed.read(member.file_size + 1)  # with a number it stops there, whatever the header says
        except InputError:
            raise
        except KeyError:
            raise InputError(f"{self.title(name)}: no such file in the archive") from None
        except UNREADABLE as error:
            raise InputError(f"{self.title(name)}: can't be read ({' '.join(str(error).split())[:100]})") from None

    def checksum(self, name: str) -> str:
        """Of the content, as the archive lists it: CRC-32 and size, which reading compares.

        Raises:
            InputError: there is no such file.
        """
        try:
            member = self.handle.zip.getinfo(self.top + name)
        except KeyError:
            raise InputError(f"{self.title(name)}: no such file in the archive") from None
        return f"{member.CRC:08x} {member.file_size}"

    def exists(self, name: str) -> bool:
        return self.top + name in self.handle.names

    def title(self, name: str) -> str:
        return f"{self.path}:{name}"
