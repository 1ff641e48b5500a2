"""``shards``: pictures and truth in WebDataset tars, on the disk, in an object store, or from a command."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import KW_ONLY, dataclass
from itertools import chain
from pathlib import Path

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.data.dataset import DataSet, Record
from maskwise.data.place import LABELS, LINKS, parsed_settings
from maskwise.data.sample import Sample
from maskwise.data.shard_files import (
    ADDRESS_OPTIONS,
    INDEX,
    PIPE,
    SET_INDEX,
    UNFINISHED,
    URL,
    ShardFile,
    expanded,
    read_whole,
)
from maskwise.data.shard_index import ShardRecord, index_of, with_classes
from maskwise.data.sources import datasets
from maskwise.data.store import Folder
from maskwise.data.tar import one_sample
from maskwise.data.truth_files import read_picture, read_truth

CHOICES = {"labels": LABELS, "links": LINKS}  # the first is the default
SET_FORMAT = "maskwise-shards-1"
READERS = 8  # indexes read at once


@datasets.register(
    "shards",
    title="WebDataset shards",
    boxes="boxes of each sample's .json, with classes",
    masks=".mask.png, .ignore.png, .class_map.png, .object.N.png",
    layout="a folder of `maskwise pack`, DIR/x-{000..127}.tar, s3://…, http://…, pipe:COMMAND: .jpg, .cls or .json",
    licence="that of its pictures",
)
@dataclass(frozen=True, eq=False)
class Shards(DataSet):
    """Samples of tars in WebDataset's form, each read by its offset.

    Attributes:
        files: the shards.
    """

    _: KW_ONLY
    files: tuple[ShardFile, ...]

    @classmethod
    def read(cls, rest: str) -> DataSet:
        where, options = _parsed(rest)
        files = [ShardFile(address) for address in _addresses(where, options["links"] == "follow")]
        with ThreadPoolExecutor(READERS) as pool:
            parts = list(pool.map(_listed, files, range(len(files))))
        listed = list(chain.from_iterable(records for records, _ in parts))
        seen: dict[str, int] = {}
        for record in listed:
            if seen.setdefault(record.id, record.shard) != record.shard:
                both = f"{files[seen[record.id]].address} and {files[record.shard].address}"
                raise InputError(f"{rest}: a sample {record.id!r} is in {both}; each needs an id of its own")
        if len(seen) < len(listed):
            raise InputError(f"{rest}: a shard holds two samples of one id; each needs an id of its own")
        records, classes = with_classes(listed, {classes for _, classes in parts})
        data = cls(rest, records, classes, files=tuple(files))
        return data.with_own_labels() if options["labels"] == "own" else data

    def image(self, record: Record) -> Tensor:
        place = _placed(record)
        return read_picture(self.files[place.shard].read(*place.picture), place.suffix, self.title(record))

    def sample(self, record: Record) -> Sample:
        place, title = _placed(record), self.title(record)
        files = one_sample(self.files[place.shard].read(*place.whole), title)
        if place.suffix not in files:
            raise InputError(f"{title}: no picture lies where its index says; make the index again")
        return read_truth(read_picture(files[place.suffix], place.suffix, title), record, files, title)

    def group(self, record: Record) -> int | None:
        place = _placed(record)
        return place.shard if self.files[place.shard].cached else None

    def title(self, record: Record) -> str:
        """What an error calls the picture."""
        return f"{self.files[_placed(record).shard].address}:{record.id}"


def _listed(file: ShardFile, shard: int) -> tuple[list[ShardRecord], tuple[str, ...] | None]:
    index = index_of(file)
    return index.records(shard, f"{file.address}: its index"), index.classes


def _placed(record: Record) -> ShardRecord:
    if not isinstance(record, ShardRecord):
        raise TypeError("the record is not one of this data set")
    return record


def _parsed(text: str) -> tuple[str, dict[str, str]]:
    options = {key: values[0] for key, values in CHOICES.items()}
    matched = None if Path(text).exists() else ADDRESS_OPTIONS.fullmatch(text)
    if matched is None:
        return text, options
    for key, value in parsed_settings(matched[2].split(","), text).items():
        if value not in CHOICES.get(key, ()):
            known = ", ".join(f"{name}={' or '.join(values)}" for name, values in CHOICES.items())
            raise InputError(f"{text}: shards have the options {known}")
        options[key] = value
    return matched[1], options


def _addresses(where: str, follow: bool) -> list[str]:
    """Of a pattern, or of a folder's index.

    Args:
        follow: take files of the folder that are links out of it, too.
    """
    if not where:
        raise InputError("the shards are missing: write shards:DIR, or a pattern such as DIR/x-{000..127}.tar")
    if where.startswith(PIPE) or where.rpartition("?")[0].endswith(".tar") or where.endswith(".tar"):
        return expanded(where)
    folder = where.removesuffix(SET_INDEX).rstrip("/") or "/"
    data = read_whole(f"{folder}/{SET_INDEX}")
    if data is None:
        if URL.match(folder) is None and not Path(folder).is_dir():
            raise InputError(f"{where}: no such folder, and no pattern of .tar files")
        half = URL.match(folder) is None and (Path(folder) / UNFINISHED).is_file()
        hint = "its packing was stopped; the same `maskwise pack` again ends it" if half else "name the .tar files"
        raise InputError(f"{where}: has no {SET_INDEX}: {hint}")
    try:
        whole = json.loads(data)
        names = [str(shard["file"]) for shard in whole["shards"]]
        if whole["format"] != SET_FORMAT:
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"{folder}/{SET_INDEX}: is not an index of shards") from None
    if not names or not all(re.fullmatch(r"[\w.-]+\.tar", name) for name in names):
        raise InputError(f"{folder}/{SET_INDEX}: names files that are not shards beside it")
    if URL.match(folder) is None and not follow:
        inside = Folder(Path(folder))
        for name in (SET_INDEX, *names):
            inside.inside(name)
            inside.inside(name.removesuffix(".tar") + INDEX)
    return [f"{folder}/{name}" for name in names]
