"""Tar archives read by offset: one pass over the headers says where each sample lies."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO, cast

from maskwise.core.errors import InputError

BLOCK = 512  # bytes; tar pads everything to whole blocks
LONGEST_HEADER = 1 << 20  # bytes of a long name, or of a header's extra fields
NAME = re.compile(r"((?:.*/)?[^./][^./]*)\.([^/]+)", re.S)  # WebDataset: up to the name's first dot is the sample's key

Span = tuple[int, int]  # first byte, how many


@dataclass
class TarSample:
    """Neighbouring files of one key.

    Attributes:
        key: their path up to the first dot of the name.
        first: offset of the first header.
        end: the byte after the last file.
        files: where each lies, by what follows the dot, in lower case.
    """

    key: str
    first: int
    end: int
    files: dict[str, Span] = field(default_factory=dict)


def tar_samples(file: BinaryIO, name: str) -> Iterator[TarSample]:
    """The samples of an uncompressed tar, in their order; constant memory.

    Args:
        file: open and seekable.
        name: what an error calls it.

    Raises:
        InputError: not a tar, or one that ends too early.
    """
    sample: TarSample | None = None
    try:
        with tarfile.open(fileobj=cast(BinaryIO, _Headers(file)), mode="r:") as tar:
            for info in tar:
                tar.members = []  # type: ignore[attr-defined]  # which it would all keep
                matched = NAME.fullmatch(info.name)
                if not info.isreg() or info.issparse() or matched is None:
                    continue
                key, suffix = matched[1], matched[2].lower()
                if sample is None or sample.key != key:
                    if sample is not None:
                        yield sample
                    sample = TarSample(key, info.offset, info.offset)
                if suffix in sample.files:
                    raise InputError(f"{name}: holds {info.name!r} twice; each sample needs a key of its own")
                sample.files[suffix] = (info.offset_data, info.size)
                sample.end = info.offset_data + info.size
    except (tarfile.TarError, OSError, EOFError, ValueError, OverflowError) as error:
        if isinstance(error, InputError):
            raise
        why = " ".join(str(error).split())[:100]
        raise InputError(f"{name}: can't be read as an uncompressed tar ({why})") from None
    if sample is not None:
        yield sample


class _Headers:
    """A file of which tarfile reads headers alone: no room is made for a name that says it has gigabytes."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.seek, self.tell = file, file.seek, file.tell

    def read(self, count: int) -> bytes:
        if count > LONGEST_HEADER:
            raise tarfile.ReadError(f"a header of {count:,} bytes")
        return self.file.read(count)


def one_sample(data: bytes, name: str) -> dict[str, bytes]:
    """The files of a sample, by suffix, from the bytes between its ``first`` and its ``end``."""
    # Cut out of the middle of an archive, so it lacks the padding and the two empty blocks that end one.
    whole = BytesIO(data + bytes(-len(data) % BLOCK + 2 * BLOCK))
    for sample in tar_samples(whole, name):
        return {suffix: data[start : start + size] for suffix, (start, size) in sample.files.items()}
    raise InputError(f"{name}: no sample lies where its index says; make the index again")
