"""Who the pictures are: a digest of the content of a data set, and not of its names alone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from maskwise.data.dataset import DataSet, Record
from maskwise.data.file_digests import file_digests
from maskwise.data.picture_files import PictureFiles
from maskwise.data.sample import Sample
from maskwise.data.shapes import Shapes
from maskwise.data.shard_index import ShardRecord
from maskwise.data.shards import Shards
from maskwise.data.store import Archive, Folder
from maskwise.data.twins import Twins

SHARED = ("name", "records", "classes", "store", "files", "single")  # of a data set: no setting of its own


def content_digests(data: DataSet) -> list[str]:
    """A digest of each record's picture and truth, 32 hex digits, in order.

    Of files it is their content's, which is read once (see ``file_digests``); of an archive the checksums and sizes
    that it lists; of shards theirs. Drawn pictures are known by what they are drawn from; those of a data set of
    yours are loaded.

    Raises:
        InputError: a file is missing or can't be read.
    """
    own = {f.name: value for f in fields(data) if f.name not in SHARED and (value := getattr(data, f.name)) is not None}
    if isinstance(data, Twins):
        single = dict(zip([r.id for r in data.single.records], content_digests(data.single), strict=True))
        return [_of("twins", record, single[record.id]) for record in data.records]
    if isinstance(data, Shapes):
        return [_of(record, own) for record in data.records]
    if isinstance(data, PictureFiles):
        named = [_named(data, record) for record in data.records]
        known = _stored(data, sorted({name for names in named for name in names}))
        return [
            _of(record, _settings(own, record), [known[name] for name in names])
            for record, names in zip(data.records, named, strict=True)
        ]
    if isinstance(data, Shards):
        return _in_shards(data)
    return [_of(record, *_loaded(data, record)) for record in data.records]


def content_digest(data: DataSet) -> str:
    """Of all its pictures, their truth, their order and the names of the classes; raises as ``content_digests``."""
    return _of(data.classes, content_digests(data))


def picture_digests(data: DataSet) -> list[str]:
    """A digest of each record's picture alone, in order: one picture under two names, or in two folders, has one.

    Of files it is their content's; drawn pictures and those in shards are told apart by name, too.

    Raises:
        InputError: as ``content_digests``.
    """
    if isinstance(data, PictureFiles):
        names = [data.below + record.id for record in data.records]
        known = _stored(data, sorted(set(names)))
        return [known[name] for name in names]
    if isinstance(data, (Twins, Shapes, Shards)):
        return content_digests(data)
    return [hashlib.sha256(data.image(r).contiguous().numpy().tobytes()).hexdigest()[:32] for r in data.records]


def digests_of(
    items: Sequence[tuple[DataSet, Record]], of: Callable[[DataSet], list[str]] = content_digests
) -> list[str]:
    """Digests of records of several data sets, in the order of the items, each set asked once."""
    own: dict[int, tuple[DataSet, list[Record]]] = {}
    for data, record in items:
        own.setdefault(id(data), (data, []))[1].append(record)
    digests = {key: iter(of(replace(data, records=kept))) for key, (data, kept) in own.items()}
    return [next(digests[id(data)]) for data, _ in items]


def same_as(digests: Sequence[str], places: Collection[int]) -> frozenset[int]:
    """Those places, and all others with the same digest as one of them.

    Example:
        >>> sorted(same_as(["a", "b", "a", "c"], [0]))
        [0, 2]
    """
    theirs = {digests[place] for place in places}
    return frozenset(place for place, digest in enumerate(digests) if digest in theirs)


def _of(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(repr(part).encode("utf-8", "backslashreplace"))
        if isinstance(part, Record) and part.subject is not None:
            digest.update(repr(part.subject).encode("utf-8", "backslashreplace"))
    return digest.hexdigest()[:32]


def _settings(own: Mapping[str, Any], record: Record) -> list[tuple[str, Any]]:
    """Of the data set, what concerns this record: of tables by id its own entry."""
    return [(key, value.get(record.id) if isinstance(value, Mapping) else value) for key, value in own.items()]


def _named(data: PictureFiles, record: Record) -> list[str]:
    names = [data.below + record.id, record.annotation, *record.masks, record.ignore]
    return [name for name in names if name is not None]


def _stored(data: PictureFiles, names: list[str]) -> dict[str, str]:
    store = data.store
    if isinstance(store, Archive):
        return {name: store.checksum(name) for name in names}
    if isinstance(store, Folder):
        paths = {name: store.inside(name) for name in names}
        found = file_digests(paths.values())
        return {name: found[path] for name, path in paths.items()}
    return {name: hashlib.sha256(store.read(name)).hexdigest()[:32] for name in names}


def _in_shards(data: Shards) -> list[str]:
    local = [Path(file.address) for file in data.files if file.local]
    found = file_digests(local)
    whole = [
        found[Path(file.address)] if file.local else file.sha256 or " ".join(map(str, file.bytes_and_version()))
        for file in data.files
    ]
    return [_of(record, whole[record.shard] if isinstance(record, ShardRecord) else "") for record in data.records]


def _loaded(data: DataSet, record: Record) -> list[str]:
    try:
        sample = data.sample(record)
    except NotImplementedError:  # one that is for training alone
        return [hashlib.sha256(data.image(record).contiguous().numpy().tobytes()).hexdigest()]
    parts = []
    for field in fields(Sample):
        value = getattr(sample, field.name)
        tensor = value.contiguous().numpy().tobytes() if hasattr(value, "contiguous") else repr(value).encode()
        parts.append(hashlib.sha256(tensor).hexdigest())
    return parts
