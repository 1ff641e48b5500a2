"""Packing: any data set as WebDataset shards with their indexes; a stopped packing goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.core.lock import holds_nothing, locked
from maskwise.core.reading import sha256_of
from maskwise.data.content import content_digest
from maskwise.data.dataset import DataSet
from maskwise.data.shard_files import INDEX, SET_INDEX, UNFINISHED
from maskwise.data.shard_index import ShardIndex
from maskwise.data.shard_writer import Stream, write_shard
from maskwise.data.shards import SET_FORMAT

FACTS = {  # of a packing, as its message calls them
    "data": "pictures, truth or classes", "room": "`size_mb`", "count": "`count`", "shuffle": "`shuffle`",
    "format": "the format",
}  # fmt: skip


@dataclass(frozen=True)
class PackedShards:
    """What was written: ``pictures`` in ``shards`` of ``size`` bytes together, below ``folder``."""

    folder: Path
    pictures: int
    shards: int
    size: int


def pack(
    data: DataSet,
    out: str | Path,
    *,
    size_mb: float = 1024,
    count: int | None = None,
    shuffle: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PackedShards:
    """Writes every picture with its truth into shards below ``out``; what is read back equals what was packed.

    Files of pictures are copied byte by byte; drawn pictures become a PNG, or a .npy where 8 bits don't hold them.
    Each shard appears whole, and its index after it. A folder of finished shards has an ``index.json``; without it
    nobody reads the folder, and the same call again writes what is missing. The same is a matter of content: a picture
    or a box that changed since is another data set.

    Args:
        data: any data set.
        out: a folder that is new, empty, or of the same packing.
        size_mb: a shard ends before it would pass so many megabytes (10^6 bytes); one large sample may.
        count: end it after so many samples instead.
        shuffle: seed of a random order; None keeps the data set's. Remote shards are read one after another, so
            a listing sorted by class needs one.
        progress: called with (done, total), in pictures, after each shard.

    Raises:
        InputError: something else in ``out``, pictures of one id, a size below 0, or what reading and writing raise.

    Example:
        >>> import tempfile
        >>> from maskwise.data import read_data
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     packed = pack(read_data("shapes:n=5,size=32"), Path(folder) / "s", count=2)
        ...     packed.shards, read_data(packed.folder)[4].boxes.equal(read_data("shapes:n=5,size=32")[4].boxes)
        (3, True)
    """
    out = Path(out)
    if size_mb <= 0 or (count is not None and count < 1):
        raise InputError("a shard needs room: `size_mb` above 0, or `count` of at least 1")
    room = int(size_mb * 1e6) if count is None else None
    order = list(range(len(data)))
    if shuffle is not None:
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(shuffle)).tolist()
    _check_ids(data)
    facts: dict[str, Any] = {
        "data": content_digest(data),
        "room": room,
        "count": count,
        "shuffle": shuffle,
        "format": SET_FORMAT,
    }
    key = hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:16]
    shards: list[dict[str, Any]] = []
    with locked(out, "packing"):
        _begin(out, key, facts)
        stream, done = Stream(data, order, 0), 0
        while done < len(order):
            path = out / f"shard-{len(shards):06}.tar"
            index = _finished(path, key, data, order[done:])
            if index is None:
                if stream.done != done:
                    stream = Stream(data, order, done)
                index = write_shard(path, stream, key, room, count, data)
            shards.append({"file": path.name, "count": len(index.rows), "bytes": index.size, "sha256": index.sha256})
            done += len(index.rows)
            if progress is not None:
                progress(done, len(order))
        whole = {
            "format": SET_FORMAT, "count": done, "pack": key, "facts": facts, "shuffle": shuffle, "shards": shards
        }  # fmt: skip
        with atomic_write(out / SET_INDEX) as temporary:
            temporary.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        (out / UNFINISHED).unlink(missing_ok=True)
    return PackedShards(out, done, len(shards), sum(shard["bytes"] for shard in shards))


def _check_ids(data: DataSet) -> None:
    if len({record.id for record in data.records}) < len(data):
        raise InputError(f"{data.name}: has several pictures of one id, which shards can't tell apart")


def _begin(out: Path, key: str, facts: dict[str, Any]) -> None:
    """Marks an empty folder as being packed, or finds this packing in it.

    Raises:
        InputError: it holds something else; the message says what differs.
    """
    for name in (UNFINISHED, SET_INDEX):
        theirs: Any = None
        try:
            whole = json.loads((out / name).read_text(encoding="utf-8"))
            if whole["pack"] == key:
                return
            theirs = whole.get("facts")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            pass
        known = theirs if isinstance(theirs, dict) else {}
        differs = [said for fact, said in FACTS.items() if fact in known and known[fact] != facts[fact]]
        what = f" ({' and '.join(differs)} differ)" if differs else ""
        raise InputError(f"{out}: holds shards of other data or other settings{what}; name another `out`")
    if not holds_nothing(out):
        raise InputError(f"{out}: is not empty; name a new folder with `out`")
    with atomic_write(out / UNFINISHED) as temporary:
        temporary.write_text(json.dumps({"pack": key, "facts": facts}) + "\n", encoding="utf-8")


def _finished(path: Path, key: str, data: DataSet, order: Sequence[int]) -> ShardIndex | None:
    """The index of a shard that is there and holds the next pictures; None if it is to be written."""
    beside = path.with_name(path.stem + INDEX)
    if not path.is_file() or not beside.is_file():
        return None
    try:
        index = ShardIndex.loaded(beside.read_bytes(), str(beside))
        ids = [record.id for record in index.records(0, str(beside))]
    except InputError:
        return None
    same = index.pack == key and ids == [data.records[i].id for i in order[: len(ids)]]
    return index if same and path.stat().st_size == index.size and sha256_of(path) == index.sha256 else None
