"""Shards read by maskwise and by ``wids``, WebDataset's library for indexed reading.

    pip install wids braceexpand
    python benchmarks/shards_wids.py --data imagenette224.zip@train --pictures 2000

Both read the encoded pictures of the same shards in the same random order, over the same ways: a folder, a web server
on this machine and a command. Seconds are CPU time of this process, so that other programs don't lengthen them; what
``wids`` fetches by ``curl`` or ``cp`` runs in children, whose time is added. Then: what each one does with shards that
changed, were cut off, or hold names longer than a tar's plain header.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import io
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from maskwise.data import DataSet, read_data
from maskwise.data.pack import pack
from maskwise.data.shard_index import ShardRecord
from maskwise.data.shards import Shards

SUFFIXES = (".jpg", ".jpeg", ".JPEG", ".png")
LRU = 10  # wids keeps so many shards open, its default


def seconds() -> float:
    """CPU time of this process and of the children that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def by_wids(urls: list[str], counts: list[int], cache: Path) -> Any:
    """wids' data set of these shards, with nothing decoded."""
    from wids import ShardListDataset
    from wids.wids import DefaultLocalname

    shards = [{"url": url, "nsamples": count} for url, count in zip(urls, counts, strict=True)]
    with contextlib.redirect_stderr(io.StringIO()):  # it prints the whole list
        made = ShardListDataset(shards, lru_size=LRU, localname=DefaultLocalname(str(cache)), transformations=[])
    made.transformations = []
    return made


def their_bytes(made: Any, i: int) -> bytes:
    """The encoded picture of a sample of wids."""
    sample = made[i]
    return bytes(next(sample[suffix] for suffix in SUFFIXES if suffix in sample).getvalue())


def our_bytes(data: DataSet, i: int) -> bytes:
    """The same from a data set of maskwise."""
    assert isinstance(data, Shards)
    record = data.records[i]
    assert isinstance(record, ShardRecord)
    return data.files[record.shard].read(*record.picture)


@contextlib.contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server of these files, in a process of its own, so that its time does not count here."""

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()


def timed(read: Callable[[int], bytes], order: list[int]) -> float:
    """Pictures in a second."""
    began = seconds()
    for i in order:
        read(i)
    return len(order) / max(seconds() - began, 1e-9)


def held(folder: Path) -> float:
    """Megabytes below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def outcome(act: Callable[[], object]) -> str:
    """What a call gives, or the error in a line."""
    try:
        return str(act())
    except BaseException as error:  # wids asserts, and ``InputError`` is not its only kind of error
        return f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"


def speeds(folder: Path, order: list[int]) -> dict[str, dict[str, float]]:
    """Of both, from each kind of source: seconds until labels are known, pictures a second, megabytes copied."""
    paths = sorted(folder.glob("*.tar"))
    counts = [json.loads(p.with_suffix("").with_suffix(".index.json").read_text())["count"] for p in paths]
    found: dict[str, dict[str, float]] = {}
    with served(folder) as web:
        os.environ["MASKWISE_ALLOW_PIPE"] = "1"
        names = [p.name for p in paths]
        listed = "{" + ",".join(names) + "}" if len(names) > 1 else names[0]
        sources = {
            "folder": (str(folder), [str(p) for p in paths]),
            "http": (f"{web}/", [f"{web}/{name}" for name in names]),
            "pipe": (f"pipe:cat {folder}/{listed}", [f"pipe:cat {p} > {{local}}" for p in paths]),
        }
        for kind, (ours, theirs) in sources.items():
            for way in ("maskwise", "wids"):
                with tempfile.TemporaryDirectory() as place:
                    os.environ["MASKWISE_CACHE"] = place
                    began = seconds()
                    if way == "maskwise":
                        data = read_data(ours)
                        labels = [record.label for record in data.records]
                        read: Callable[[int], bytes] = functools.partial(our_bytes, data)
                    else:
                        made = by_wids(theirs, counts, Path(place))
                        labels = [json.load(made[i][".json"]).get("label") for i in range(len(made))]
                        read = functools.partial(their_bytes, made)
                    opened = seconds() - began
                    assert len(labels) == sum(counts)
                    first, again = timed(read, order), timed(read, order)
                    found[f"{kind}, {way}"] = {
                        "seconds_to_labels": round(opened, 3), "first_pass": round(first), "second_pass": round(again),
                        "copied_mb": round(held(Path(place)), 1),
                    }  # fmt: skip
                    print(f"{kind:8}{way:10}", found[f"{kind}, {way}"], flush=True)
    return found


def tar(path: Path, names: list[str], size: int) -> Path:
    """An archive of files that hold their own number."""
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as archive:
        for i, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = size
            archive.addfile(info, io.BytesIO(bytes([i]) * size))
    return path


def faults(folder: Path) -> dict[str, dict[str, str]]:
    """What both say of shards that are not as they should be: their samples, or an error."""

    def ours(path: Path) -> str:
        data = read_data(path)
        return f"{len(data)} samples, the last one's byte is {our_bytes(data, len(data) - 1)[0]}"

    def theirs(path: Path, count: int) -> str:
        made = by_wids([str(path)], [count], folder / "cache")
        return f"{len(made)} samples, the last one's byte is {their_bytes(made, count - 1)[0]}"

    found: dict[str, dict[str, str]] = {}

    def both(title: str, path: Path, count: int) -> None:
        found[title] = {
            "maskwise": outcome(lambda: ours(path)),
            "wids": outcome(lambda: theirs(path, count)),
        }
        print(title, found[title], flush=True)

    os.environ["MASKWISE_CACHE"] = str(folder / "ours")
    (folder / "cache").mkdir()
    both("names of 120 characters", tar(folder / "a.tar", [f"{'n' * 119}{i}.jpg" for i in range(3)], 900), 3)
    changing = tar(folder / "b.tar", ["0.jpg", "1.jpg"], 900)
    both("before it changes", changing, 2)
    both("after: 5 samples", tar(changing, [f"{i}.jpg" for i in range(5)], 900), 5)
    whole = tar(folder / "c.tar", [f"{i}.jpg" for i in range(9)], 900)
    (folder / "d.tar").write_bytes(whole.read_bytes()[:4000])
    both("cut off in the third of nine", folder / "d.tar", 9)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder or zip of JPEGs")
    parser.add_argument("--pictures", type=int, default=2000)
    parser.add_argument("--shards", type=int, nargs="+", default=[8, 40], help="in so many shards")
    given = parser.parse_args()
    whole = read_data(given.data)
    data = whole.subset(range(min(given.pictures, len(whole))))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
    results: dict[str, Any] = {"pictures": len(data)}
    with tempfile.TemporaryDirectory() as place:
        for shards in given.shards:
            folder = Path(place) / f"shards-{shards}"
            packed = pack(data, folder, count=-(-len(data) // shards))
            print(f"{packed.pictures} pictures in {packed.shards} shards, {packed.size / 1e6:.1f} MB", flush=True)
            results[f"{packed.shards} shards"] = speeds(folder, order)
            shutil.rmtree(folder)
        odd = Path(place) / "odd"
        odd.mkdir()
        results["faults"] = faults(odd)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
