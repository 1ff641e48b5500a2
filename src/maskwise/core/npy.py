"""Arrays of NumPy in files that anybody may have written: sizes are known before room is made, nothing is unpickled."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np

from maskwise.core.errors import InputError
from maskwise.core.npy_header import read_npy_header
from maskwise.core.reading import DAMAGED_ZIP, PIECE

NUMBERS = "biuf"  # numpy's letters of truth values, integers and floats
TEXT = "U"
MOST_SIDES = 8


def read_npy(file: IO[bytes], most: int, longest: int | None = None, kinds: str = NUMBERS) -> np.ndarray:
    """An array whose header is believed only after it was looked at: no more room is made than there are bytes.

    Args:
        file: stands at the array's first byte.
        most: numbers that it may have.
        longest: that a side may have; None is as many.
        kinds: NumPy's letters of what it may hold.

    Raises:
        InputError: anything else; the message is a phrase of the arrays, "are damaged", and names no file.

    Example:
        >>> from io import BytesIO
        >>> stream = BytesIO()
        >>> np.save(stream, np.eye(2))
        >>> read_npy(BytesIO(stream.getvalue()), 4).tolist()
        [[1.0, 0.0], [0.0, 1.0]]
    """
    try:
        shape, columns_first, kind = read_npy_header(file)
    except ValueError:
        raise InputError("are damaged, or no arrays of NumPy") from None
    if kind is None or kind.kind not in kinds or kind.hasobject or not kind.itemsize:
        what = "records" if kind is None else "objects" if kind.hasobject else kind.name[:40]
        raise InputError(f"hold {what}, and numbers are wanted")
    if len(shape) > MOST_SIDES:
        raise InputError(f"have the shape {str(shape)[:60]}")
    longest, count = most if longest is None else longest, 1
    for side in shape:
        count *= side
    if not 0 <= count <= most or any(not 0 <= side <= longest for side in shape):
        raise InputError(f"have more than {most:,} pixels, or a side of more than {longest:,}")
    found = bytearray()
    wanted = count * kind.itemsize
    while len(found) < wanted:  # as much as there is, however much the header promises
        piece = file.read(min(wanted - len(found), PIECE))
        if not piece:
            raise InputError("end too early: they are damaged")
        found += piece
    return np.frombuffer(found, dtype=kind).reshape(shape, order="F" if columns_first else "C")


def mapped_npy(path: Path) -> np.ndarray:
    """The array of a ``.npy`` file of this package's own, mapped into memory: only what is asked for is read.

    ``np.load`` with ``mmap_mode`` does as much, but not from several threads at once (see ``read_npy_header``).

    Raises:
        ValueError: it is none, holds records, or ends too early.
        OSError: it can't be read.
    """
    with path.open("rb") as file:
        shape, columns_first, kind = read_npy_header(file)
        if kind is None or kind.hasobject:
            raise ValueError("its array can't be mapped")
        return np.memmap(file, kind, "r", file.tell(), shape, "F" if columns_first else "C")


@contextmanager
def opened_npz(path: Path, compressed: bool = True) -> Iterator[zipfile.ZipFile]:
    """An archive of arrays, each to be read by ``read_npy``; damage that shows within the block is said as there.

    Args:
        path: of the archive.
        compressed: False refuses members that are, so that no array is larger than the file.

    Raises:
        InputError: it is damaged; the message is a phrase, as those of ``read_npy``.
        OSError: it can't be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            kinds = {member.compress_type for member in archive.infolist()}
            if not kinds <= {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:  # zipfile can't bound others
                raise InputError("are compressed by another method than deflate")
            if not compressed and kinds - {zipfile.ZIP_STORED}:
                raise InputError("are compressed, which this package's are not")
            yield archive
    except InputError:
        raise
    except DAMAGED_ZIP:
        raise InputError("are damaged") from None
