"""Shards: a folder of them whose indexes are damaged, and tars without an index whose headers or members are."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from random import Random
from unittest import mock

import numpy as np
from fuzz.harness import Target
from fuzz.mutate import SIZES, damaged
from fuzz.pictures import seeds
from fuzz.tables import shaken

from maskwise.data import read_data
from maskwise.data.pack import pack

SHARD, INDEX, SET = "shard-000000.tar", "shard-000000.index.json", "index.json"
BLOCK = 512
FACTS = {
    "id": "a", "label": 1, "category": 0, "class": "dog", "wnid": "n01440764", "boxes": [[1, 2, 9, 10], [0, 0, 5, 5]],
    "box_classes": [0, 1], "difficult": [False, True], "objects": 2, "has_boxes": True, "has_mask": True,
}  # fmt: skip


@cache
def packed() -> Mapping[str, bytes]:
    """Four drawn scenes with boxes and masks, in two shards."""
    with tempfile.TemporaryDirectory() as folder:
        pack(read_data("shapes:n=4,size=32"), folder, count=2)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir() if path.is_file()}


def make_index(random: Random) -> bytes:
    """The damaged index's name, a zero byte, and what it holds now."""
    name = random.choice((INDEX, INDEX, INDEX, SET))
    if random.random() < 0.15:
        return name.encode() + b"\0" + damaged(packed()[name], [packed()[SET]], random)
    table = json.loads(packed()[name])
    if name == INDEX and random.random() < 0.5:  # of rows, most values are deep in it
        row = random.choice(table["samples"])
        key = random.choice((*row, *FACTS))
        row[key] = shaken({key: row.get(key, FACTS.get(key))}, random, 2)
        row[key] = row[key].get(key) if isinstance(row[key], dict) else row[key]
    else:
        table = shaken(table, random)
    return name.encode() + b"\0" + json.dumps(table).encode("utf-8", "surrogatepass")


def read_index(data: bytes, folder: Path) -> None:
    root = folder / "shards"
    root.mkdir(exist_ok=True)
    changed, _, made = data.partition(b"\0")
    for name, whole in packed().items():
        (root / name).write_bytes(made if name == changed.decode() else whole)
    _read(str(root), folder)


@cache
def arrays() -> tuple[bytes, ...]:
    """Files of NumPy: a picture, one of objects, and the archive that no picture is."""
    found = []
    for write, array in (
        (np.save, np.zeros((3, 9, 7), np.float32)), (np.save, np.array([{}], object)),
        (np.savez, np.zeros((3, 9, 7), np.float32)),
    ):  # fmt: skip
        buffer = io.BytesIO()
        write(buffer, array)
        found.append(buffer.getvalue())
    return tuple(found)


def make_tar(random: Random) -> bytes:
    """A sample with all its truth; a member, a header's field with a checksum that fits, or any bytes are damaged."""
    files = {
        "a.json": json.dumps(FACTS).encode(), "a.cls": b"1", "a.mask.png": seeds("PNG")[4],
        **{f"a.object.{i}.png": seeds("PNG")[4] for i in range(2)},
    }  # fmt: skip
    picture = random.choice(("a.png", "a.npy"))
    files[picture] = seeds("PNG")[0] if picture == "a.png" else random.choice(arrays())
    chance = random.random()
    if chance < 0.3:
        files["a.json"] = json.dumps(shaken(FACTS, random)).encode("utf-8", "surrogatepass")
    elif chance < 0.6:
        name = random.choice(list(files))
        files[name] = damaged(files[name], [*files.values(), *arrays()], random)
    whole = tarred(files)
    if chance < 0.6:
        return whole
    return _header(whole, random) if chance < 0.9 else damaged(whole, [whole], random)


def tarred(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _header(whole: bytes, random: Random) -> bytes:
    """The first header says another kind of member, of another size."""
    out = bytearray(whole)
    if random.random() < 0.8:
        out[156:157] = random.choice((b"L", b"K", b"x", b"g", b"X", b"S", b"D", b"2", b"5", b"6"))
    size = random.choice((*SIZES, random.randrange(2**40)))
    big = b"\x80" + size.to_bytes(11, "big")
    out[124:136] = random.choice((big, b"%011o\0" % min(size, 8**11 - 1), b"\xff" * 12, random.randbytes(12)))
    out[148:156] = b" " * 8
    out[148:156] = b"%06o\0 " % sum(out[:BLOCK])
    return bytes(out)


def read_tar(data: bytes, folder: Path) -> None:
    path = folder / "any.tar"
    path.write_bytes(data)
    _read(str(path), folder)


def _read(source: str, folder: Path) -> None:
    shutil.rmtree(folder / "cache", ignore_errors=True)
    with mock.patch.dict(os.environ, {"MASKWISE_CACHE": str(folder / "cache")}):
        for sample in read_data(source):
            sample.resized(16)


TARGETS = (
    Target("shard indexes", 0.08, make_index, read_index),
    Target("shards", 0.06, make_tar, read_tar),
)
