"""One shard written: samples read ahead by threads, put into a tar until it is full."""

from __future__ import annotations

import os
import tarfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from io import BytesIO
from pathlib import Path, PurePosixPath

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.reading import sha256_of
from maskwise.data.dataset import DataSet, Record
from maskwise.data.picture_files import PictureFiles
from maskwise.data.shard_files import INDEX
from maskwise.data.shard_index import PICTURES, ShardIndex, ShardRecord
from maskwise.data.shards import Shards
from maskwise.data.tar import BLOCK
from maskwise.data.truth_files import picture_file, truth_files

READERS = min(4, os.cpu_count() or 1)
AHEAD = 4 * READERS  # samples that are read before they are wanted
Files = list[tuple[str, bytes]]  # of a sample: suffix and content, the picture first


class Stream:
    """The samples of a data set as files, from position ``done`` of an order on."""

    def __init__(self, data: DataSet, order: Sequence[int], done: int) -> None:
        self.done = done
        self._made = _made(data, order[done:])
        self._held: Files | None = None

    def take(self, fits: Callable[[Files], bool]) -> Files | None:
        """The next one; None at the end, or where it does not fit and so stays the next."""
        held = self._held if self._held is not None else next(self._made, None)
        if held is None or not fits(held):
            self._held = held
            return None
        self._held = None
        self.done += 1
        return held


def write_shard(
    path: Path, stream: Stream, pack: str, room: int | None, count: int | None, data: DataSet
) -> ShardIndex:
    """A tar of the next samples, at least one, and its index beside it.

    Args:
        path: of the tar.
        pack: which packing it is of.
        room: bytes; None is any number.
        count: samples; None is any number.
    """
    written = 0
    with atomic_write(path) as temporary:
        # The same samples are the same bytes: no times, no owners.
        with tarfile.open(temporary, "w", format=tarfile.USTAR_FORMAT) as tar:

            def fits(files: Files) -> bool:
                size = sum(BLOCK + -(-len(content) // BLOCK) * BLOCK for _, content in files)
                end = -(-(tar.offset + size + 2 * BLOCK) // tarfile.RECORDSIZE) * tarfile.RECORDSIZE
                roomy = room is None or end <= room
                return not written or (roomy and (count is None or written < count))

            while (files := stream.take(fits)) is not None:
                for suffix, content in files:
                    info = tarfile.TarInfo(f"{stream.done - 1:09}.{suffix}")
                    info.size = len(content)
                    tar.addfile(info, BytesIO(content))
                written += 1
        with open(temporary, "rb") as file:
            index = ShardIndex.scanned(file, path.name, temporary.stat().st_size)
        if len(index.rows) != written:
            raise InputError(f"{path}: {written} samples were written and {len(index.rows)} read back; try again")
        index = replace(index, sha256=sha256_of(temporary), classes=data.classes, pack=pack)
    with atomic_write(path.with_name(path.stem + INDEX)) as temporary:
        temporary.write_bytes(index.dumped())
    return index


def _made(data: DataSet, order: Sequence[int]) -> Iterator[Files]:
    """In order; a window of them is in memory, as files and not as tensors."""
    waiting: deque[Future[Files]] = deque()
    with ThreadPoolExecutor(READERS) as pool:
        for index in order:
            waiting.append(pool.submit(_files, data, data.records[index]))
            if len(waiting) == AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _files(data: DataSet, record: Record) -> Files:
    sample = data.sample(record)
    return [_picture(data, record, sample.image), *truth_files(sample, record, data.classes).items()]


def _picture(data: DataSet, record: Record, image: Tensor) -> tuple[str, bytes]:
    """As it is stored, where it is stored in a format that a shard may hold; else as ``picture_file`` makes it."""
    if isinstance(data, Shards) and isinstance(record, ShardRecord):
        return record.suffix, data.files[record.shard].read(*record.picture)
    suffix = PurePosixPath(record.id).suffix.lower().removeprefix(".")
    if isinstance(data, PictureFiles) and suffix in PICTURES and suffix != "npy":
        return suffix, data.store.read(data.below + record.id)
    return picture_file(image)
