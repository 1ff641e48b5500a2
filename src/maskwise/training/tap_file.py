"""What a frozen network saw of pictures, in a file that is mapped into memory: an epoch then reads numbers alone."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.files import unwritable, writable_folder
from maskwise.core.text import one_line

KEY = 32  # hex digits


class TapFile:
    """Rows of float16 by key: one ``.npy`` of records (key, row), mapped into memory.

    Args:
        path: of a file that ``write_taps`` has written.
        width: numbers of a row.

    Raises:
        InputError: it can't be read, or its rows have another width.
    """

    def __init__(self, path: Path, width: int) -> None:
        self.path = path
        try:
            self.records: Any = np.load(path, mmap_mode="r", allow_pickle=False)
        except Exception as error:  # a damaged header makes NumPy, and Python's own parser, raise nearly every kind
            raise InputError(f"{path}: can't be read as taps ({one_line(error, 100)}); delete it") from None
        if not isinstance(self.records, np.ndarray) or self.records.dtype != _record(width) or self.records.ndim != 1:
            raise InputError(
                f"{path}: holds no taps, or those of other layers or sizes; delete it, or name another file"
            )
        self.places = {key.decode("ascii", "replace"): k for k, key in enumerate(self.records["key"])}

    def row(self, key: str) -> Tensor:
        """(width,) float16, a copy."""
        return torch.from_numpy(np.array(self.records[self.places[key]]["row"]))


def write_taps(
    path: Path,
    keys: Sequence[str],
    width: int,
    see: Callable[[Sequence[int]], Tensor],
    batch: int = 8,
    done: Callable[[int], None] = lambda count: None,
) -> TapFile:
    """The file with rows of these keys; those that it has already are not made anew.

    Rows are written one after another beside ``path``, which is renamed in the end. A later call goes on behind the
    last whole row of a writing that was killed.

    Args:
        path: ends in .npy.
        keys: of all rows, each ``KEY`` hex digits; one that comes twice is one row.
        see: from places in ``keys`` to rows (n,width).
        batch: rows that are made at once.
        done: told how many rows are there now, after each batch.

    Raises:
        InputError: the file holds something else, the folder can't be written to, or the disk is full.
    """
    places = {key: place for place, key in reversed(list(enumerate(keys)))}
    wanted = sorted(places, key=places.__getitem__)
    old = TapFile(path, width) if path.is_file() else None
    if old is not None and all(key in old.places for key in wanted):
        done(len(wanted))
        return old
    writable_folder(path.parent)
    part = path.with_name(f"{path.name}.part")
    try:
        with part.open("r+b" if part.is_file() else "w+b") as file:
            first = _begun(file, wanted, width)
            done(first)
            for k in range(first, len(wanted), batch):
                chunk = wanted[k : k + batch]
                rows = np.empty(len(chunk), _record(width))
                rows["key"] = [key.encode("ascii") for key in chunk]
                rows["row"] = _rows(chunk, places, old, see)
                file.write(rows.tobytes())
                done(k + len(chunk))
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:
        raise unwritable(path, error) from error
    return TapFile(path, width)


def _rows(
    chunk: Iterable[str], places: dict[str, int], old: TapFile | None, see: Callable[[Sequence[int]], Tensor]
) -> np.ndarray:
    fresh = [key for key in chunk if old is None or key not in old.places]
    seen = dict(zip(fresh, see([places[key] for key in fresh]).half().cpu(), strict=True)) if fresh else {}
    return np.stack([(seen[key] if key in seen else cast(TapFile, old).row(key)).numpy() for key in chunk])


def _begun(file: BinaryIO, wanted: Sequence[str], width: int) -> int:
    """How many rows are there, as far as they are those wanted; the file stands behind the last of them."""
    record = _record(width)
    header = _header(len(wanted), record)
    count = 0
    if file.read(len(header)) == header:
        while count < len(wanted):
            row = file.read(record.itemsize)
            if len(row) < record.itemsize or row[:KEY] != wanted[count].encode("ascii"):
                break
            count += 1
    file.seek(0)
    file.write(header)
    file.seek(len(header) + count * record.itemsize)
    file.truncate()
    return count


def _record(width: int) -> np.dtype:
    return np.dtype([("key", f"S{KEY}"), ("row", "<f2", (width,))])


def _header(rows: int, record: np.dtype) -> bytes:
    from io import BytesIO

    head = BytesIO()
    described = {"descr": np.lib.format.dtype_to_descr(record), "fortran_order": False, "shape": (rows,)}
    np.lib.format.write_array_header_1_0(head, described)
    return head.getvalue()
