"""Shards of anybody's making, near and far: what is read, in which order, and what is said where it can't be."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import pickle
import socket
import tarfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pytest
import torch
from conftest import end_at, epoch, tiny_net
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from maskwise.classifiers import Classifier
from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.data.order import epoch_order
from maskwise.data.pack import pack
from maskwise.data.shard_cache import ShardCache
from maskwise.data.shard_files import expanded
from maskwise.training import recipes
from maskwise.training.loader import Loader


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test alone."""
    monkeypatch.setenv("MASKWISE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MASKWISE_CACHE_GB", raising=False)
    monkeypatch.delenv("MASKWISE_ALLOW_PIPE", raising=False)
    return tmp_path / "cache"


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


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Twelve drawn pictures in six shards."""
    return pack(read_data("shapes:n=12,size=32,labels=own"), tmp_path / "shards", count=2).folder


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


# Far away


@pytest.fixture
def far(shards: Path) -> str:
    """The same shards in an object store."""
    store = fsspec.filesystem("memory")
    store.put(str(shards), "/bucket/set", recursive=True)
    yield "memory://bucket/set"
    store.rm("/bucket", recursive=True)


def equal(a: DataSet, b: DataSet) -> None:
    assert [r.id for r in a.records] == [r.id for r in b.records]
    for mine, theirs in zip(a, b, strict=True):
        assert mine.image.equal(theirs.image) and mine.boxes.equal(theirs.boxes) and mine.mask.equal(theirs.mask)


@pytest.mark.parametrize("gigabytes", ["20", "0"])
@pytest.mark.parametrize("pattern", ["", "/", "/index.json", "/shard-{000000..000005}.tar"])
def test_object_stores(
    far: str, pattern: str, gigabytes: str, shards: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole shards into the cache, or without one only the bytes of each picture."""
    monkeypatch.setenv("MASKWISE_CACHE_GB", gigabytes)
    data = read_data(far + pattern)
    assert not list(cache.rglob("*.tar")), "labels and boxes are known from the small files"
    equal(data, read_data(shards))
    assert len(list(cache.rglob("*.tar"))) == (6 if gigabytes != "0" else 0)
    assert {data.group(r) for r in data.records} == (set(range(6)) if gigabytes != "0" else {None})


def test_file_urls(shards: Path) -> None:
    equal(read_data(f"file://{shards}"), read_data(shards))


def test_far_shards_without_indexes(far: str, shards: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in store.glob("/bucket/set/*.index.json"):
        store.rm(name)
    equal(read_data(far + "/shard-{000000..000005}.tar"), read_data(shards))


def test_what_is_said_of_what_is_not_there(far: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for source, match in [
        ("memory://nowhere/a.tar", "no such file"),
        ("memory://nowhere", r"has no index\.json"),
        ("nosuchstore://bucket/a.tar", "nosuchstore"),
        ("http://127.0.0.1:9/a.tar", "its server can't be reached|maskwise.scale"),
    ]:
        with pytest.raises(InputError, match=match):
            read_data(source)
    monkeypatch.setenv("MASKWISE_CACHE_GB", "much")
    with pytest.raises(InputError, match="MASKWISE_CACHE_GB is 'much'"):
        read_data(far)[0]


def test_a_copy_that_was_changed_on_its_way_is_refused(far: str, cache: Path) -> None:
    data = read_data(far)
    store = fsspec.filesystem("memory")
    whole = store.cat("/bucket/set/shard-000000.tar")
    store.pipe("/bucket/set/shard-000000.tar", whole[:600] + b"?" + whole[601:])
    with pytest.raises(InputError, match="SHA-256 differs"):
        data[0]
    assert not list(cache.rglob("*.tar")) and not list(cache.rglob("*.part"))


def test_the_cache_stays_below_its_size(far: str, cache: Path, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    size = (shards / "shard-000000.tar").stat().st_size
    monkeypatch.setenv("MASKWISE_CACHE_GB", str(2.5 * size / 1e9))
    data = read_data(far)
    for record in data.records:
        data.image(record)
        assert sum(p.stat().st_size for p in cache.rglob("*.tar")) <= 2.5 * size
    equal(data, read_data(shards))
    monkeypatch.setenv("MASKWISE_CACHE_GB", "1e-9")
    equal(read_data(far), read_data(shards))


def test_the_least_recently_used_goes(tmp_path: Path) -> None:
    cache, loads = ShardCache(tmp_path / "c", 25), Counter[str]()

    def get(key: str) -> None:
        def load(path: Path) -> None:
            loads[key] += 1
            path.write_bytes(b"x" * 10)

        os.utime(cache.fetch(key, 10, load), ns=(0, sum(loads.values()) * 10**9 + len(order)))
        order.append(key)

    order: list[str] = []
    for key in "abacab":  # c takes the place of b, which was used before a, and then b that of c
        get(key)
    assert loads == {"a": 1, "b": 2, "c": 1}


def hold(folder: Path, source: str, queue: Any) -> None:
    os.environ["MASKWISE_CACHE"] = str(folder)
    data = read_data(source)
    queue.put([float(data.image(record).sum()) for record in data.records])


def test_processes_share_a_cache(shards: Path, tmp_path: Path) -> None:
    """Four at once, a cache of little more than one shard: they take it from one another, and none stumbles."""
    os.environ["MASKWISE_CACHE_GB"] = str(1.5 * (shards / "shard-000000.tar").stat().st_size / 1e9)
    expected = [float(sample.image.sum()) for sample in read_data(shards)]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    children = [context.Process(target=hold, args=(tmp_path / "c", f"file://{shards}", queue)) for _ in range(4)]
    for child in children:
        child.start()
    found = [queue.get() for _ in children]
    for child in children:
        child.join()
    del os.environ["MASKWISE_CACHE_GB"]
    assert found == [expected] * 4
    assert not list((tmp_path / "c").rglob("*.part"))


# Commands


def test_commands_run_only_where_they_are_allowed(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = tmp_path / "ran"
    source = f"pipe:touch {mark}; cat {shards}/shard-{{000000..000002}}.tar"
    for value in ("", "0", "yes"):
        monkeypatch.setenv("MASKWISE_ALLOW_PIPE", value)
        with pytest.raises(InputError, match="if you trust it, set MASKWISE_ALLOW_PIPE=1"):
            read_data(source)
    assert not mark.exists()
    monkeypatch.setenv("MASKWISE_ALLOW_PIPE", "1")
    equal(read_data(source), read_data(f"{shards}/shard-{{000000..000002}}.tar"))
    assert mark.exists()


def test_commands_that_fail(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASKWISE_ALLOW_PIPE", "1")
    with pytest.raises(InputError, match="ended with 3 .*sorry"):
        read_data("pipe:echo half; echo sorry >&2; exit 3")
    assert not list(cache.rglob("*.tar"))


# Many at once


def test_threads_pickles_and_forks(shards: Path) -> None:
    data = read_data(shards)
    expected = [float(sample.image.sum()) for sample in data]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda r: float(data.image(r).sum()), list(data.records) * 5)) == expected * 5
    copy = pickle.loads(pickle.dumps(data))
    assert [float(copy.image(r).sum()) for r in copy.records] == expected
    assert [r.id for r in data.subset([3, 1]).records] == ["shapes/0/3", "shapes/0/1"]


# The order of an epoch


@given(
    sizes=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    loose=st.integers(0, 5),
    lanes=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_an_epoch_visits_everything_once(sizes: list[int], loose: int, lanes: int, seed: int) -> None:
    groups: list[int | None] = [None] * loose + [i for i, size in enumerate(sizes) for _ in range(size)]
    order = epoch_order(groups, torch.Generator().manual_seed(seed), lanes)
    assert sorted(order) == list(range(len(groups)))
    assert order == epoch_order(groups, torch.Generator().manual_seed(seed), lanes)


def test_without_groups_it_is_the_permutation_it_always_was() -> None:
    draws = torch.Generator().manual_seed(3)
    assert epoch_order([None] * 50, draws) == torch.randperm(50, generator=torch.Generator().manual_seed(3)).tolist()


def test_ranks_read_their_own_shards() -> None:
    """64 shards of 10: a rank of 1, 2, 4 or 8 needs its part of them, all together every shard once."""
    groups = [i // 10 for i in range(640)]
    order = epoch_order(groups, torch.Generator().manual_seed(0))
    for world in (1, 2, 4, 8):
        mine = [{groups[i] for i in order[rank::world]} for rank in range(world)]
        assert [len(shards) for shards in mine] == [64 // world] * world
        assert set.union(*mine) == set(range(64))


def test_few_shards_are_in_use_at_a_time() -> None:
    groups = [i // 10 for i in range(640)]
    order = epoch_order(groups, torch.Generator().manual_seed(0))
    first = {g: min(k for k, i in enumerate(order) if groups[i] == g) for g in range(64)}
    last = {g: max(k for k, i in enumerate(order) if groups[i] == g) for g in range(64)}
    assert max(sum(first[g] <= k <= last[g] for g in range(64)) for k in range(640)) <= 16
    neighbours = sum(abs(groups[a] - groups[b]) == 0 for a, b in pairwise(order))
    assert neighbours < 20, "those of one shard do not stand together"


def feed(source: str) -> Loader:
    settings = recipes.load("casm", ["batch_size=4", "fraction=1", "input_size=32", "epochs=2"])
    return Loader([read_data(source)], settings, 32)


@pytest.mark.parametrize("place", ["near", "far"])
def test_an_epoch_from_its_middle(place: str, shards: Path, far: str) -> None:
    """Batches from step 2 on are those that an epoch from the start gives, and other epochs have other orders."""
    source = str(shards) if place == "near" else far
    whole = [labels.tolist() for _, labels in epoch(feed(source), 1)]
    assert len(whole) == 3 and sorted(chain.from_iterable(whole)) == sorted(r.label for r in read_data(shards).records)
    pictures = [images for images, _ in epoch(feed(source), 1)]
    for images, expected in zip(epoch(feed(source), 1, first=2), pictures[2:], strict=True):
        assert images[0].equal(expected)
    assert whole != [labels.tolist() for _, labels in epoch(feed(source), 0)]
    shares = [[labels.tolist() for _, labels in epoch(feed(source), 1, rank=rank, world=2)] for rank in (0, 1)]
    assert [[a[i // 2] if i % 2 == 0 else b[i // 2] for i in range(4)] for a, b in zip(*shares, strict=True)] == whole


def test_near_shards_are_fed_as_a_folder_is(shards: Path) -> None:
    for a, b in zip(epoch(feed(str(shards)), 0), epoch(feed("shapes:n=12,size=32,labels=own"), 0), strict=True):
        assert a[0].equal(b[0]) and a[1].equal(b[1])


@pytest.mark.parametrize("place", ["near", "far"])
def test_a_resumed_training_equals_one_never_stopped(place: str, shards: Path, far: str, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from maskwise.training import train

    settings = ["batch_size=4", "fraction=1", "epochs=2", "input_size=32"]
    source = str(shards) if place == "near" else far

    def run(out: Path, **options: Any) -> Path:
        classifier = Classifier(tiny_net(classes=8), input_size=32, name="tiny")
        return train(
            "casm",
            source,
            classifier=classifier,
            out=out,
            overrides=settings,
            checkpoint_every=1,
            device="cpu",
            **options,
        )

    whole = run(tmp_path / "whole")
    run(tmp_path / "stopped", callbacks=[end_at(2)])
    resumed = run(tmp_path / "stopped", resume=True)
    a, b = load_file(whole), load_file(resumed)
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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


@pytest.mark.parametrize("rest", ["x-{0..1}.tar", "folder/index.json"])
def test_a_server_that_does_not_answer(rest: str) -> None:
    """Not the same as a file that is not there."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and who connects is refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="its server can't be reached"):
            read_data(f"shards:http://127.0.0.1:{taken.getsockname()[1]}/{rest}")
