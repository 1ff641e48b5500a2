"""Pictures a second from a folder, a zip and shards, near and behind fsspec.

    python benchmarks/streaming.py --data imagenette224.zip@train --pictures 1000

Each way reads the same pictures in the same random order: `image` decodes, `bytes` only fetches what `image` decodes.
The ways take turns, `--repeats` times, and the median counts. Seconds are those of one core (CPU time), which other
programs on the machine don't lengthen. Files are in the page cache, so this is the cost of the reader and not of a
disk. Then memory: how much the process grew while the pictures were read three times over.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import torch

from maskwise.data import DataSet, read_data
from maskwise.data.pack import pack
from maskwise.data.picture_files import PictureFiles
from maskwise.data.shard_index import ShardRecord
from maskwise.data.shards import Shards


def ways(data: PictureFiles, folder: Path) -> dict[str, DataSet]:
    """The same pictures as files, in a zip and in shards."""
    (folder / "files" / "images").mkdir(parents=True)
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("set/images.csv", "file\n" + "".join(f"{i:06}.jpg\n" for i in range(len(data))))
        for i, record in enumerate(data.records):
            content = data.store.read(data.below + record.id)
            (folder / "files" / "images" / f"{i:06}.jpg").write_bytes(content)
            archive.writestr(f"set/{i:06}.jpg", content)
    files = read_data(folder / "files")
    pack(files, folder / "shards", size_mb=8)
    found = {
        "folder": files,
        "zip": read_data(folder / "set.zip"),
        "tar": read_data(folder / "shards"),
        "tar, file:// through the cache": read_data(f"file://{folder}/shards"),
    }
    os.environ["MASKWISE_CACHE_GB"] = "0"
    ranges = read_data(f"file://{folder}/shards")
    found["tar, file:// by ranges"] = ranges
    return found


def fetched(data: DataSet, record: Any) -> int:
    """The bytes that ``image`` would decode."""
    if isinstance(data, Shards) and isinstance(record, ShardRecord):
        return len(data.files[record.shard].read(*record.picture))
    assert isinstance(data, PictureFiles)
    return len(data.store.read(data.below + record.id))


def rate(data: DataSet, order: list[int], decode: bool) -> float:
    """Pictures in a second of CPU time."""
    began = time.process_time()
    for i in order:
        if decode:
            data.image(data.records[i])
        else:
            fetched(data, data.records[i])
    return len(order) / (time.process_time() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="a folder or zip of pictures")
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    whole = read_data(given.data)
    assert isinstance(whole, PictureFiles), "benchmarks read files"
    data = whole.subset(range(min(given.pictures, len(whole))))
    results: dict[str, Any] = {"pictures": len(data), "rates": {}, "grown_mb": {}}
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MASKWISE_CACHE"] = f"{folder}/cache"
        sets = ways(data, Path(folder))
        order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0)).tolist()
        for kind in ("image", "bytes"):
            runs: dict[str, list[float]] = {name: [] for name in sets}
            for _ in range(given.repeats + 1):
                for name, one in sets.items():
                    os.environ["MASKWISE_CACHE_GB"] = "0" if "ranges" in name else "20"
                    runs[name].append(rate(one, order, kind == "image"))
            for name, values in runs.items():
                results["rates"][f"{name}, {kind}"] = round(statistics.median(values[1:]))
                print(f"{name:34} {kind}: {statistics.median(values[1:]):8.0f} pictures/s", flush=True)
        for name, one in sets.items():
            os.environ["MASKWISE_CACHE_GB"] = "0" if "ranges" in name else "20"
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            for _ in range(3):
                rate(one, order, True)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            results["grown_mb"][name] = round(grown, 1)
            print(f"{name:34} grew by {grown:.1f} MB in {3 * len(order)} pictures", flush=True)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
