"""Shards far away, the cache of what was fetched, and commands that give shards."""

from __future__ import annotations

import multiprocessing
import os
import socket
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import pytest

from maskwise.core.errors import InputError
from maskwise.data import DataSet, read_data
from maskwise.data.shard_cache import ShardCache

pytestmark = pytest.mark.usefixtures("cache")


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


@pytest.mark.parametrize("rest", ["x-{0..1}.tar", "folder/index.json"])
def test_a_server_that_does_not_answer(rest: str) -> None:
    """Not the same as a file that is not there."""
    with socket.socket() as taken:  # bound and not listening: nobody else gets the port, and who connects is refused
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(InputError, match="its server can't be reached"):
            read_data(f"shards:http://127.0.0.1:{taken.getsockname()[1]}/{rest}")
