"""Files of ``torch.save``, opened only once it is known how much they hold: no code, no bombs, plain tensors."""

from __future__ import annotations

import struct
import zipfile
from collections.abc import Collection
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from maskwise.core.pickle_outline import Outline, OutlineError, outline_of

ZIP = b"PK\x03\x04"
END = b"PK\x05\x06"  # of a zip: 22 bytes, of which the directory's size and place are two numbers
LONGEST_PICKLE = 1 << 26  # bytes; names, shapes and settings, no numbers of tensors
MOST_TENSORS = 10_000  # the largest networks have a few thousand; each takes a tenth of a millisecond, or more
LEGACY_PICKLES = 3  # before the one of the content: a magic number, a version, the machine


def load_torch(path: Path, device: torch.device | str | None = "cpu", allowed: Collection[type] = ()) -> Any:
    """What ``torch.save`` wrote, in its zip or its older format, by PyTorch's ``weights_only`` reader.

    Before that the file's own account of itself is checked: members are stored and not compressed, what they hold
    together is no more than the file, and each tensor lies in its storage and repeats none of it. So a file takes no
    more memory than it is long.

    Args:
        device: where tensors are put.
        allowed: plain classes, such as ``argparse.Namespace``, that it may hold besides.

    Raises:
        OutlineError: it is not so, or it asks for more than tensors and plain data.
        Exception: whatever a damaged file makes PyTorch's reader raise.
    """
    check_torch_file(path, [f"{kind.__module__}.{kind.__qualname__}" for kind in allowed])
    with torch.serialization.safe_globals(list(allowed)):
        return torch.load(path, map_location=device, weights_only=True)


def check_torch_file(path: Path, allowed: Collection[str] = ()) -> Outline:
    """The outline of a file whose sizes agree with one another; see ``load_torch``."""
    size = path.stat().st_size
    with path.open("rb") as file:
        zipped = file.read(len(ZIP)) == ZIP
        file.seek(0)
        return _zipped(file, size, allowed) if zipped else _legacy(file, size, allowed)


def _zipped(file: BinaryIO, size: int, allowed: Collection[str]) -> Outline:
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        if not members or any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise OutlineError("is a zip of compressed members, which torch.save does not write; save it again")
        if sum(member.file_size for member in members) > size or len({m.filename for m in members}) < len(members):
            raise OutlineError("is a zip whose members overlap; save it again")
        _check_directory(file, archive.start_dir, size)
        sizes = {member.filename: member.file_size for member in members}
        top = members[0].filename.partition("/")[0]
        if sizes.get(f"{top}/data.pkl", LONGEST_PICKLE + 1) > LONGEST_PICKLE:
            raise OutlineError("is not what torch.save writes (no data.pkl, or one of more than 64 MB)")
        found = outline_of(BytesIO(archive.read(f"{top}/data.pkl")), allowed)
    if len(found.storages) > MOST_TENSORS:
        raise OutlineError(f"holds more than {MOST_TENSORS:,} tensors")
    for stored in found.storages.values():
        there = sizes.get(f"{top}/data/{stored.key}")
        if there != stored.count * stored.itemsize:
            raise OutlineError(f"is damaged ({stored.count} numbers are announced, and {there or 0} bytes are there)")
    return found


def _check_directory(file: BinaryIO, start: int, size: int) -> None:
    """Two readers of a zip must not see two directories: the last end mark says where Python's reader found it."""
    file.seek(max(size - (1 << 16) - 22, 0))
    tail = file.read()
    place = tail.rfind(END)
    length, offset = struct.unpack("<II", tail[place + 12 : place + 20])
    if offset != 0xFFFFFFFF and (offset != start or size - len(tail) + place < offset + length):
        raise OutlineError("is a zip with two directories; save it again")


def _legacy(file: BinaryIO, size: int, allowed: Collection[str]) -> Outline:
    bounded = cast(BinaryIO, _Bounded(file, size))
    for _ in range(LEGACY_PICKLES):
        outline_of(bounded)
    found = outline_of(bounded, allowed)
    if len(found.storages) > MOST_TENSORS:
        raise OutlineError(f"holds more than {MOST_TENSORS:,} tensors")
    if sum(stored.count * stored.itemsize for stored in found.storages.values()) > size:
        raise OutlineError("announces more numbers than the file can hold; it is damaged")
    return found


class _Bounded:
    """A file of which nobody reads more than there is: a text that says it has 2^40 bytes would get room for them."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self.file, self.size = file, size
        self.readline, self.tell = file.readline, file.tell

    def read(self, count: int) -> bytes:
        if not 0 <= count <= self.size - self.file.tell():
            raise OutlineError("is damaged (it ends within its pickle)")
        return self.file.read(count)
