"""The index of a shard: what lies where in it, and every label and box, so that no picture need be read for them."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from maskwise.core.errors import InputError
from maskwise.core.files import atomic_write
from maskwise.data.dataset import Box, Record
from maskwise.data.shard_cache import cache_folder
from maskwise.data.shard_files import ShardFile
from maskwise.data.store import MOST_BYTES, MOST_TEXT
from maskwise.data.tables import MOST_CLASSES
from maskwise.data.tar import Span, tar_samples
from maskwise.data.truth_files import MASKS, read_facts
from maskwise.formats import PICTURE_SUFFIXES
from maskwise.labels import imagenet_labels

FORMAT = "maskwise-shard-1"
PICTURES = (*(suffix.removeprefix(".") for suffix in PICTURE_SUFFIXES), "npy")
ERRORS = (ValueError, KeyError, TypeError, RecursionError, AttributeError, ArithmeticError)  # int of infinity
MOST_OF_SAMPLE = 2 * MOST_BYTES  # picture and truth, which are read as one piece
FACTS = ("label", "category", "class", "wnid", "boxes", "box_classes", "subject")


@dataclass(frozen=True)
class ShardRecord(Record):
    """A record that knows where its bytes are.

    Attributes:
        shard: which of the data set's shards.
        suffix: of the picture.
        picture: its first byte and how many.
        whole: the same of all its files.
        class_name: of its category, where the shard says so itself.
        wnid: WordNet id of its class.
    """

    shard: int = 0
    suffix: str = ""
    picture: Span = (0, 0)
    whole: Span = (0, 0)
    class_name: str | None = None
    wnid: str | None = None


@dataclass(frozen=True)
class ShardIndex:
    """Of one shard.

    Attributes:
        rows: a sample each, plain data.
        size: the shard's bytes.
        sha256: of the shard; None where it was not computed.
        classes: names of the data set's own classes; None where samples name theirs.
        pack: which packing it is of.
    """

    rows: list[dict[str, Any]]
    size: int
    sha256: str | None = None
    classes: tuple[str, ...] | None = None
    pack: str | None = None

    @classmethod
    def scanned(cls, file: BinaryIO, name: str, size: int = 0) -> ShardIndex:
        """From the shard itself: headers, and the small files that hold labels and boxes.

        Raises:
            InputError: not a tar of samples with pictures.
        """
        rows = []
        for sample in tar_samples(file, name):
            title = f"{name}:{sample.key}"
            suffix = next((s for s in sample.files if s in PICTURES), None)
            if suffix is None:
                raise InputError(f"{title}: has no picture ({', '.join(PICTURES)}) among {', '.join(sample.files)}")
            small = {}
            position = file.tell()
            for kind in sample.files.keys() & {"json", "cls"}:
                start, length = sample.files[kind]
                if length > MOST_TEXT:
                    raise InputError(f"{title}.{kind}: has more than {MOST_TEXT >> 20} MB")
                file.seek(start)
                small[kind] = file.read(length)
            file.seek(position)
            facts = read_facts(small, title)
            rows.append(
                {
                    "id": str(facts.get("id", sample.key)),
                    "picture": [suffix, *sample.files[suffix]],
                    "whole": [sample.first, sample.end - sample.first],
                    "has_boxes": bool(facts.get("has_boxes") or facts["boxes"]),
                    "has_mask": bool(facts.get("has_mask") or MASKS["mask"] in sample.files),
                    **{key: facts[key] for key in FACTS if facts.get(key) is not None},
                }
            )
        if not rows:
            raise InputError(f"{name}: holds no samples")
        return cls(rows, size)

    def dumped(self) -> bytes:
        whole = {"format": FORMAT, "bytes": self.size, "sha256": self.sha256, "count": len(self.rows)}
        return json.dumps({**whole, "classes": self.classes, "pack": self.pack, "samples": self.rows}).encode()

    @classmethod
    def loaded(cls, data: bytes, name: str) -> ShardIndex:
        """From what ``dumped`` gave.

        Raises:
            InputError: something else.
        """
        try:
            whole = json.loads(data)
            if whole["format"] != FORMAT or whole["count"] != len(whole["samples"]):
                raise ValueError("another format, or cut off")
            classes = None if whole["classes"] is None else tuple(map(str, whole["classes"]))
            sha256 = None if whole["sha256"] is None else str(whole["sha256"])
            if len(classes or ()) > MOST_CLASSES:
                raise ValueError(f"more than {MOST_CLASSES:,} classes")
            return cls(list(whole["samples"]), int(whole["bytes"]), sha256, classes, whole["pack"])
        except ERRORS as error:
            raise _not_an_index(name, error) from None

    def records(self, shard: int, name: str) -> list[ShardRecord]:
        """Its records, when it is the data set's shard of that number.

        Raises:
            InputError: the rows are of another form; the message calls the index ``name``.
        """
        try:
            records = [_record(row, shard, self.classes is None) for row in self.rows]
            for record in records:
                _check_place(record, self.size)
            return records
        except ERRORS as error:
            raise _not_an_index(name, error) from None


def _not_an_index(name: str, error: Exception) -> InputError:
    why = " ".join(str(error).split())[:80]
    return InputError(f"{name}: is not the index of a shard ({type(error).__name__}: {why})")


def _record(row: dict[str, Any], shard: int, names_class: bool) -> ShardRecord:
    suffix, start, size = row["picture"]
    first, length = row["whole"]
    if not all(isinstance(n, int) and n >= 0 for n in (start, size, first, length)):
        raise ValueError("offsets must be whole numbers")
    boxes: tuple[Box, ...] = tuple(_edges(box) for box in row.get("boxes", ()))
    kinds = row.get("box_classes")
    return ShardRecord(
        str(row["id"]),
        _whole(row.get("label")),
        _whole(row.get("category")),
        boxes,
        None if kinds is None else _kinds(kinds, len(boxes)),
        has_boxes=bool(row["has_boxes"]),
        has_mask=bool(row["has_mask"]),
        subject=None if row.get("subject") is None else sys.intern(str(row["subject"])),
        shard=shard,
        suffix=sys.intern(str(suffix)),  # the same few texts a million times over
        picture=(start, size),
        whole=(first, length),
        class_name=sys.intern(str(row["class"])) if names_class and row.get("class") is not None else None,
        wnid=None if row.get("wnid") is None else sys.intern(str(row["wnid"])),
    )


def _check_place(record: ShardRecord, size: int) -> None:
    """The picture lies within its sample, and that within the shard; 0 stands for a size that nobody knows."""
    first, length = record.whole
    start, count = record.picture
    if not first <= start <= start + count <= first + length or (size and first + length > size):
        raise ValueError(f"sample {record.id[:30]!r} lies outside of the shard's {size} bytes")
    if count > MOST_BYTES or length > MOST_OF_SAMPLE:
        raise ValueError(
            f"{record.id[:30]!r} has more than {MOST_BYTES >> 20} MB, or {MOST_OF_SAMPLE >> 20} MB with its truth"
        )


def _edges(box: list[float]) -> Box:
    x0, y0, x1, y1 = map(float, box)
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise ValueError("a box must be four finite numbers, x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def _whole(value: Any) -> int | None:
    """The index of a class. Tables of names are as long as the highest of them, so that it is bounded."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < MOST_CLASSES:
        raise ValueError(f"{str(value)[:30]!r} is not the index of a class (0 to {MOST_CLASSES - 1:,})")
    return value


def _kinds(values: Any, boxes: int) -> tuple[int, ...]:
    kinds = [_whole(value) for value in values]
    if len(kinds) != boxes or None in kinds:
        raise ValueError("each box needs one class")
    return tuple(kind for kind in kinds if kind is not None)


def index_of(file: ShardFile) -> ShardIndex:
    """The index beside a shard, or one made on first use and kept in the cache folder.

    Raises:
        InputError: no such shard, an index of another shard, or not a tar of samples.
    """
    beside = file.index()
    if beside is not None:
        index = ShardIndex.loaded(beside, f"{file.address}: its index")
        if file.local and file.bytes_and_version()[0] != index.size:
            raise InputError(f"{file.address}: has another size than its index says; it is truncated, or another file")
        file.sha256 = index.sha256
        return index
    size, version = file.bytes_and_version()
    address = str(Path(file.address).resolve()) if file.local else file.address
    name = hashlib.sha256(f"{FORMAT} {address} {version}".encode()).hexdigest()[:32]
    kept = cache_folder() / "indexes" / f"{name}.json"
    with suppress(OSError, InputError):  # a broken one is made again
        return ShardIndex.loaded(kept.read_bytes(), str(kept))
    try:
        with file.opened() as opened:
            index = ShardIndex.scanned(opened, file.address, size)
    except OSError as error:
        raise InputError(f"{file.address}: can't be read ({error.strerror or error})") from None
    with suppress(InputError), atomic_write(kept) as temporary:  # a cache that can't be written is only slower
        temporary.write_bytes(index.dumped())
    return index


def with_classes(
    records: list[ShardRecord], listed: set[tuple[str, ...] | None]
) -> tuple[list[ShardRecord], tuple[str, ...] | None]:
    """Records with labels and categories, and the names of the own classes, from what all shards say of them.

    Where samples only name their class, the own classes are those names in alphabetical order. A WordNet id of
    ImageNet gives the label.

    Args:
        records: of all shards.
        listed: the classes that the shards' indexes name.

    Raises:
        InputError: the shards are of data sets with different classes.
    """
    if any(record.wnid is not None for record in records):
        label = {wnid: i for i, wnid in enumerate(imagenet_labels().wnids or ())}
        records = [replace(r, label=label[r.wnid]) if r.label is None and r.wnid in label else r for r in records]
    if len(listed) > 1:
        raise InputError("these shards are of data sets with different classes; read each by itself")
    classes = listed.pop()
    named = {record.class_name for record in records if record.class_name is not None}
    if classes is not None or not named:
        return records, classes
    if all(record.category is not None for record in records):
        names = {r.category: r.class_name for r in records}
        return records, tuple(names.get(i) or f"class {i}" for i in range(max(r.category or 0 for r in records) + 1))
    classes = tuple(sorted(named))
    place = {name: i for i, name in enumerate(classes)}
    return [replace(r, category=None if r.class_name is None else place[r.class_name]) for r in records], classes
