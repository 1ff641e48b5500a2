"""Files read a piece at a time, in constant memory, and what a damaged archive raises meanwhile."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

PIECE = 1 << 20  # bytes that are read at once
# zipfile and zlib document but two of these; NotImplementedError is a method of compression that they don't know.
DAMAGED_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError)


def pieces(file: BinaryIO) -> Iterator[bytes]:
    """The rest of an open file."""
    while piece := file.read(PIECE):
        yield piece


def sha256_of(path: str | Path) -> str:
    """Of a file's content; 64 hex digits.

    Raises:
        OSError: it can't be read.
    """
    found = hashlib.sha256()
    with Path(path).open("rb") as file:
        for piece in pieces(file):
            found.update(piece)
    return found.hexdigest()
