"""Shards of anybody's making, near and far: what is read, in which order, and what is said where it can't be."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.data.pack import pack
from maskwise.data.shard_files import expanded

pytestmark = pytest.mark.usefixtures("cache")


def png(value: int = 100, width: int = 8, height: int = 6) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def tar(path: Path, files: dict[str, bytes | str], **options: Any) -> Path:
    """An archive of these files, as other programs write them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def greys(data: DataSet) -> list[int]:
    return [round(float(data.image(record).mean()) * 255) for record in data.records]


# What other programs write


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_shards_of_another_s_making(form: int, tmp_path: Path) -> None:
    """Labels from .cls or .json, boxes, a mask, names too long for a plain header, folders and stray files."""
    long = "d" * 60 + "/" + "n" * 60
    facts = {"label": 7, "id": "mine", "boxes": [[1, 2, 5, 6]], "class": "dog", "url": "http://…"}
    mask = io.BytesIO()
    Image.fromarray(np.eye(6, 8, dtype=np.uint8)).save(mask, "PNG")
    path = tar(
        tmp_path / "a.tar",
        {
            "./x/0001.png": png(10), "./x/0001.cls": "3\n", "README": "no sample",
            f"{long}.JPG": png(20), f"{long}.json": json.dumps(facts), f"{long}.mask.png": mask.getvalue(),
            "x/3.png": png(30), "x/3.json": json.dumps({"wnid": "n02102040", "class": "cat"}),
        },
        format=form,
    )  # fmt: skip
    data = read_data(path)
    assert [(r.id, r.label, r.category) for r in data.records] == [
        ("./x/0001", 3, None), ("mine", 7, 1), ("x/3", 217, 0),
    ]  # fmt: skip
    assert data.classes == ("cat", "dog")
    assert [(r.has_boxes, r.has_mask) for r in data.records] == [(False, False), (True, True), (False, False)]
    assert data.records[1].boxes == ((1, 2, 5, 6),) and greys(data) == [10, 20, 30]
    sample = data[1]
    assert sample.boxes.tolist() == [[1, 2, 5, 6]] and sample.mask is not None and int(sample.mask.sum()) == 6
    assert data[0].mask is None and len(data[0].boxes) == 0


def test_the_index_is_made_once_and_follows_the_shard(tmp_path: Path, cache: Path) -> None:
    path = tar(tmp_path / "a.tar", {"0.png": png(10), "0.cls": "1"})
    read_data(path)
    (kept,) = (cache / "indexes").iterdir()
    before = kept.stat().st_mtime_ns
    read_data(path)
    assert kept.stat().st_mtime_ns == before
    kept.write_text('{"format": "maskwise-shard-1"')
    assert read_data(path).records[0].label == 1, "a broken one is made again"
    tar(path, {"0.png": png(10), "0.cls": "1", "1.png": png(20), "1.cls": "2"})
    assert [r.label for r in read_data(path).records] == [1, 2]


def test_a_cache_that_cannot_be_written_is_only_slower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MASKWISE_CACHE", str(tmp_path / "file"))
    assert len(read_data(tar(tmp_path / "a.tar", {"0.png": png()}))) == 1


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({}, "holds no samples"),
        ({"0.cls": "1"}, "has no picture"),
        ({"0.png": png(), "0.cls": "dog"}, r"0\.cls: the label is 'dog', which is not a class index"),
        ({"0.png": png(), "0.cls": "9" * 100_000}, r"0\.cls: the label is '9+…', which is not a class index"),
        ({"0.png": png(), "0.json": "{"}, r"0\.json: is not JSON"),
        ({"0.png": png(), "0.json": "[1]"}, "must be an object"),
        ({"0.png": png(), "0.json": '{"label": -1}'}, "label is '-1', which is not a class index"),
        ({"0.png": png(), "0.json": '{"label": true}'}, "label is 'True'"),
        ({"0.png": png(), "0.json": '{"boxes": 3}'}, r"boxes must be \[\[x0"),
        ({"0.png": png(), "0.json": '{"boxes": [[5, 0, 4, 9]]}'}, "is empty"),
        ({"0.png": png(), "0.json": '{"boxes": [[0, 0, 4, NaN]]}'}, "not four numbers"),
        (
            {"0.png": png(), "0.json": '{"boxes": [[0,0,1,1]], "box_classes": [1, 2]}'},
            "one int for each of the 1 boxes",
        ),
        ({"0.png": png(), "0.json": '{"boxes": [[0,0,1,1]], "difficult": [1]}'}, "one bool for each"),
        ({"0.png": png(), "0.json": '{"id": "a"}', "1.png": png(), "1.json": '{"id": "a"}'}, "two samples of one id"),
    ],
)
def test_what_is_said_of_bad_shards(files: dict[str, str | bytes], match: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=match):
        read_data(tar(tmp_path / "a.tar", files))


@pytest.mark.parametrize(
    ("files", "match"),
    [
        ({"0.png": b"nothing"}, "not a picture"),
        ({"0.npy": b"\x93NUMPY"}, "damaged"),
        ({"0.png": png(), "0.json": '{"boxes": [[0, 0, 80, 6]]}'}, "is not within the picture"),
        ({"0.png": png(), "0.mask.png": png(1, 7)}, "mask and picture differ in size"),
        ({"0.png": png(), "0.json": '{"boxes": [[0,0,1,1]], "objects": 2}'}, r"one object\.N\.png for each"),
    ],
)
def test_what_is_said_of_bad_samples(files: dict[str, str | bytes], match: str, tmp_path: Path) -> None:
    data = read_data(tar(tmp_path / "a.tar", files))
    with pytest.raises(InputError, match=match):
        data[0]


def test_arrays_are_never_unpickled(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.save(stream, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    data = read_data(tar(tmp_path / "a.tar", {"0.npy": stream.getvalue()}))
    with pytest.raises(InputError, match="damaged"):
        data[0]


def test_links_and_compressed_archives(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("0.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    with pytest.raises(InputError, match="holds no samples"):
        read_data(path)
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("0.png"))
    with pytest.raises(InputError, match="can't be read as an uncompressed tar"):
        read_data(path)


@given(cut=st.integers(0, 4000), place=st.integers(0, 4000), value=st.integers(0, 255))
def test_damaged_archives_raise_nothing_else(cut: int, place: int, value: int, tmp_path_factory: Any) -> None:
    """Cut anywhere, or with a byte changed: it is read, or refused by an ``InputError``."""
    folder = tmp_path_factory.mktemp("damaged")
    os.environ["MASKWISE_CACHE"] = str(folder / "cache")
    whole = tar(folder / "w.tar", {"0.png": png(), "0.cls": "1", "1.png": png(), "1.json": '{"label": 2}'}).read_bytes()
    harmed = bytearray(whole)
    harmed[place % len(whole)] = value
    for name, data in (("a.tar", whole[:cut]), ("b.tar", bytes(harmed))):
        (folder / name).write_bytes(data)
        try:
            for _ in read_data(folder / name):
                pass
        except InputError:
            pass


# The index beside a shard


def test_an_index_of_another_shard_is_refused(shards: Path) -> None:
    (shards / "shard-000000.tar").write_bytes((shards / "shard-000000.tar").read_bytes()[:-512])
    with pytest.raises(InputError, match="has another size than its index says"):
        read_data(shards)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": "maskwise-shard-1", "count": 0}', '{"format": 3}'])
def test_broken_indexes(text: str, shards: Path) -> None:
    (shards / "shard-000000.index.json").write_text(text)
    with pytest.raises(InputError, match="is not the index of a shard"):
        read_data(shards)
    (shards / "index.json").write_text(text)
    with pytest.raises(InputError, match="is not an index of shards"):
        read_data(shards)


@pytest.mark.parametrize("name", ["../x.tar", "/etc/x.tar", "x.zip", "a/x.tar"])
def test_an_index_names_its_neighbours_only(name: str, shards: Path) -> None:
    whole = json.loads((shards / "index.json").read_text())
    whole["shards"][0]["file"] = name
    (shards / "index.json").write_text(json.dumps(whole))
    with pytest.raises(InputError, match="not shards beside it"):
        read_data(shards)


def test_without_its_index_a_shard_says_the_same(shards: Path) -> None:
    with_index = read_data(f"{shards}/shard-{{000000..000005}}.tar")
    for path in shards.glob("*.index.json"):
        path.unlink()
    scanned = read_data(f"{shards}/shard-{{000000..000005}}.tar")
    for a, b in zip(with_index.records, scanned.records, strict=True):
        assert (a.id, a.label, a.category, a.boxes, a.box_classes, a.has_boxes, a.has_mask, a.picture, a.whole) == (  # type: ignore[attr-defined]
            b.id, b.label, b.category, b.boxes, b.box_classes, b.has_boxes, b.has_mask, b.picture, b.whole,  # type: ignore[attr-defined]
        )  # fmt: skip
        assert torch.equal(with_index.image(a), scanned.image(b))


# Sources


def test_patterns() -> None:
    assert expanded("a{008..011}.tar") == ["a008.tar", "a009.tar", "a010.tar", "a011.tar"]
    assert expanded("{x,y}{1..2}") == ["x1", "x2", "y1", "y2"]
    assert expanded("plain.tar") == ["plain.tar"]
    for pattern in ("{3..1}.tar", "{0..99999999999999999999}.tar", "{0..999}{0..999}{0..999}.tar"):
        with pytest.raises(InputError, match="must count upwards"):
            expanded(pattern)


def test_sources(shards: Path) -> None:
    everything = read_data(shards)
    assert [r.id for r in everything.records] == [f"shapes/0/{i}" for i in range(12)]
    assert [r.id for r in read_data(f"{shards}/shard-{{000001..000002}}.tar").records] == [
        f"shapes/0/{i}" for i in range(2, 6)
    ]
    assert len(read_data(f"shards:{shards}")) == len(read_data(f"twins:{shards}")) == 12
    own = read_data(f"{shards}@labels=own")
    assert [r.label for r in own.records] == [r.category for r in own.records]
    for source, match in [
        (f"{shards}@labels=mine", "the options labels=classifier or own, links=inside or follow"),
        (f"{shards}/none-{{0..1}}.tar", "no such file"),
        (f"shards:{shards}/none", "no such folder"),
        (f"shards:{shards.parent}", r"has no index\.json: name the \.tar files"),
        ("shards:", "the shards are missing"),
        (f"{shards}/shard-{{000000,000000}}.tar", "each needs an id of its own"),
    ]:
        with pytest.raises(InputError, match=match):
            read_data(source)


def test_own_labels_by_option(tmp_path: Path) -> None:
    folder = pack(read_data("shapes:n=3,size=32"), tmp_path / "s").folder
    assert [r.label for r in read_data(folder).records] == [None] * 3
    assert [r.label for r in read_data(f"{folder}@labels=own").records] == [0, 1, 2]


def test_sets_of_other_classes_do_not_mix(shards: Path, tmp_path: Path) -> None:
    other = tar(tmp_path / "other.tar", {"0.png": png()})
    with pytest.raises(InputError, match="different classes"):
        read_data(f"{shards.parent}/{{shards/shard-000000,{other.stem}}}.tar")


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("picture", ["png", 10**15, 10], "lies outside of the shard"),
        ("picture", ["png", 0, 10], "lies outside of the shard"),  # in the shard, and in another sample
        ("whole", [0, 10**15], "lies outside of the shard"),
        ("whole", [10**30, 1], "lies outside of the shard"),
        ("boxes", [[0, 0, 1e999, 4]], "four finite numbers"),
        ("boxes", [[float("nan"), 0, 1, 4]], "four finite numbers"),
        ("boxes", [[3, 0, 3, 4]], "four finite numbers"),
    ],
)
def test_an_index_is_held_against_its_shard(key: str, value: Any, why: str, shards: Path) -> None:
    """It may have been written by a stranger."""
    path = shards / "shard-000001.index.json"
    index = json.loads(path.read_text())
    index["samples"][1][key] = value
    path.write_text(json.dumps(index))
    with pytest.raises(InputError, match=f"is not the index of a shard .*{why}"):
        read_data(shards)


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
@pytest.mark.parametrize("name", ["shard-000001.tar", "shard-000001.index.json", "index.json"])
def test_a_folders_shards_may_not_be_links_out_of_it(name: str, shards: Path, tmp_path: Path) -> None:
    (shards / name).rename(tmp_path / "elsewhere")
    (shards / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="is a link out of .*links=follow"):
        read_data(shards)
    assert len(read_data(f"{shards}@links=follow")) == 12
    assert len(read_data(f"{shards}/shard-{{000000..000005}}.tar")) == 12, "who names the files trusts them"
