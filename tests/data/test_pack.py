"""Packing: what is read back is what was packed; a stopped packing goes on; others can read the shards, too."""

from __future__ import annotations

import json
import tarfile
from dataclasses import dataclass, fields
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import DATA
from data.making import picture, text
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

from maskwise.cli import app
from maskwise.core.errors import InputError
from maskwise.data import DataSet, Record, Sample, read_data
from maskwise.data.pack import pack
from maskwise.images import packaged_pictures

PIXELS = ("image", "boxes", "box_classes", "mask", "ignore", "class_map", "difficult", "box_masks")


def alike(packed: DataSet, source: DataSet) -> None:
    """Every record and every sample equals its source, to the last bit."""
    assert packed.classes == source.classes and len(packed) == len(source)
    records = {record.id: record for record in packed.records}
    for record in source.records:
        mine, sample = records[record.id], source.sample(record)
        assert (mine.label, mine.category, mine.has_mask) == (record.label, record.category, record.has_mask)
        assert mine.has_boxes == (record.has_boxes or len(sample.boxes) > 0)
        assert list(mine.boxes) == [tuple(box) for box in sample.boxes.tolist()], "known without the picture"
        assert packed.image(mine).equal(sample.image)
        same(packed.sample(mine), sample)


def same(mine: Sample, theirs: Sample) -> None:
    assert (mine.id, mine.label, mine.category) == (theirs.id, theirs.label, theirs.category)
    assert {f.name for f in fields(Sample)} == {"id", "label", "category", *PIXELS}, "a new field needs a file"
    for name in PIXELS:
        a, b = getattr(mine, name), getattr(theirs, name)
        assert (a is None) == (b is None), name
        assert a is None or (a.dtype == b.dtype and torch.equal(a, b)), name


@dataclass(frozen=True, eq=False)
class Everything(DataSet):
    """Truth of every kind, with its edges: no object, one pixel, classes beyond 255, values that 8 bits don't hold."""

    def image(self, record: Record) -> Tensor:
        draws = torch.Generator().manual_seed(int(record.id[-1]))
        image = torch.rand(3, 9, 7, generator=draws)
        return (image * 255).round() / 255 if record.id.endswith("0") else image

    def sample(self, record: Record) -> Sample:
        mask = torch.arange(63).reshape(9, 7) % 3 == 0
        boxes = torch.tensor([[0.1, 0, 7, 9 - 1e-9], [1, 2, 3, 4]], dtype=torch.float64)
        none = record.id.endswith("1")
        return Sample(
            record.id,
            self.image(record),
            record.label,
            boxes[:0] if none else boxes,
            torch.tensor([] if none else [3, 300]).long(),
            mask,
            ~mask & (torch.arange(7) < 2),
            torch.where(mask, 40_000, -1),
            torch.tensor([] if none else [True, False]).bool(),
            record.category,
            torch.stack([mask, ~mask])[: 0 if none else 2],
        )


def test_every_kind_of_truth_comes_back(tmp_path: Path) -> None:
    records = [Record(f"a/ü {i}", i or None, 2 - i, has_boxes=True, has_mask=True) for i in range(3)]
    data = Everything("all", records, ("x", "y", "ü"))
    alike(read_data(pack(data, tmp_path / "s").folder), data)


@pytest.mark.parametrize("source", ["shapes:n=9,size=48", "shapes:n=3,size=33,labels=own", "twins:shapes:n=2,size=32"])
def test_drawn_pictures_come_back(source: str, tmp_path: Path) -> None:
    data = read_data(source)
    alike(read_data(pack(data, tmp_path / "s", count=4).folder), data)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """The packaged pictures with boxes, masks and labels, one of them turned by EXIF, and formats beside JPEG."""
    root = tmp_path / "photographs"
    boxes, labels = ["file,x0,y0,x1,y1"], ["file,label"]
    for i, path in enumerate(packaged_pictures()):
        with Image.open(path) as opened:
            small = opened.convert("RGB").resize((90 + i, 70))
        exif = Image.Exif()
        exif[0x0112] = 6 if i == 1 else 1
        name = f"{path.stem}.{('jpg', 'jpg', 'png', 'webp', 'bmp')[i]}"
        (root / "images").mkdir(parents=True, exist_ok=True)
        small.save(root / "images" / name, exif=exif)
        boxes += [f"{name},{i},2,{50 + i}.5,60", f"{name},1,1,9,9"][: 1 + i % 2]
        labels.append(f"{name},{i * 100}")
        if i < 2:
            (root / "masks").mkdir(exist_ok=True)
            Image.fromarray((np.arange(70 * (90 + i)).reshape(70, -1) % 5 == 0).astype(np.uint8)).save(
                root / "masks" / f"{path.stem}.png"
            )
    text(root / "boxes.csv", *boxes)
    text(root / "labels.csv", *labels)
    return root


def test_photographs_come_back(photographs: Path, tmp_path: Path) -> None:
    """Byte by byte, so no picture is compressed again; truth of a turned picture is upright already."""
    data = read_data(photographs)
    packed = read_data(pack(data, tmp_path / "s", shuffle=5).folder)
    records = {record.id: record for record in packed.records}
    for record in data.records:
        mine = records[record.id]
        same(packed.sample(mine), data.sample(record))
        with tarfile.open(tmp_path / "s" / "shard-000000.tar") as tar:
            stored = {tar.extractfile(m).read() for m in tar}  # type: ignore[union-attr]
        assert (photographs / "images" / record.id).read_bytes() in stored
    assert [r.id for r in packed.records] != [r.id for r in data.records], "shuffled"


def test_shards_are_packed_again(photographs: Path, tmp_path: Path) -> None:
    first = read_data(pack(read_data(photographs), tmp_path / "a", count=2).folder)
    alike(read_data(pack(first, tmp_path / "b", size_mb=5).folder), first)


@pytest.mark.data
@pytest.mark.parametrize("source", ["pets3.zip@test", "coco256.zip", "cub10.zip", "imagenette224.zip@test"])
def test_real_data_comes_back(source: str, tmp_path: Path) -> None:
    data = read_data(f"{DATA}/{source}")
    data = data.subset(range(0, len(data), max(len(data) // 60, 1)))
    alike(read_data(pack(data, tmp_path / "s", size_mb=0.5, shuffle=0).folder), data)


def test_limits(tmp_path: Path) -> None:
    data = read_data("shapes:n=10,size=32")
    pack(data, tmp_path / "count", count=4)
    index = json.loads((tmp_path / "count" / "index.json").read_text())
    assert [shard["count"] for shard in index["shards"]] == [4, 4, 2] and index["count"] == 10
    pack(data, tmp_path / "size", size_mb=0.06)
    sizes = [p.stat().st_size for p in sorted((tmp_path / "size").glob("*.tar"))]
    assert len(sizes) > 2 and all(size <= 60_000 for size in sizes)
    assert pack(data, tmp_path / "tiny", size_mb=1e-6).shards == 10, "one sample is the least"
    for bad in ({"size_mb": 0}, {"count": 0}):
        with pytest.raises(InputError, match="a shard needs room"):
            pack(data, tmp_path / "bad", **bad)  # type: ignore[arg-type]


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_the_same_packing_is_the_same_bytes(tmp_path: Path) -> None:
    data = read_data("shapes:n=6,size=32")
    for name in ("a", "b"):
        pack(data, tmp_path / name, count=2, shuffle=1)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert set(contents(tmp_path / "a")) == {"index.json"} | {
        f"shard-00000{i}{end}" for i in range(3) for end in (".tar", ".index.json")
    }


class StopError(Exception):
    pass


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_a_stopped_packing_goes_on(stop_at: int, tmp_path: Path) -> None:
    """Finished shards stay as they are; what is there before the end is not read as if it were all."""
    data = read_data("shapes:n=7,size=32")
    pack(data, tmp_path / "whole", count=2)

    def stop(done: int, total: int) -> None:
        if done == 2 * stop_at:
            raise StopError

    with pytest.raises(StopError):
        pack(data, tmp_path / "s", count=2, progress=stop)
    with pytest.raises(InputError, match="its packing was stopped; the same `maskwise pack` again ends it"):
        read_data(tmp_path / "s")
    times = {p.name: p.stat().st_mtime_ns for p in (tmp_path / "s").glob("*.tar")}
    assert len(times) == stop_at
    pack(data, tmp_path / "s", count=2)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")
    assert times.items() <= {p.name: p.stat().st_mtime_ns for p in (tmp_path / "s").glob("*.tar")}.items()


@pytest.mark.parametrize("harm", ["flip", "cut", "delete", "index", "foreign"])
def test_what_is_wrong_is_written_again(harm: str, tmp_path: Path) -> None:
    data = read_data("shapes:n=6,size=32")
    pack(data, tmp_path / "s", count=2)
    whole = contents(tmp_path / "s")
    path = tmp_path / "s" / "shard-000001.tar"
    if harm == "flip":
        path.write_bytes(whole[path.name][:700] + b"\x55" + whole[path.name][701:])
    elif harm == "cut":
        path.write_bytes(whole[path.name][:-10])
    elif harm == "delete":
        path.unlink()
    elif harm == "index":
        path.with_name("shard-000001.index.json").write_text("{")
    else:
        path.with_name("shard-000001.index.json").write_bytes(whole["shard-000000.index.json"])
    pack(data, tmp_path / "s", count=2)
    assert contents(tmp_path / "s") == whole


def test_other_things_in_the_folder_are_refused(tmp_path: Path) -> None:
    data = read_data("shapes:n=4,size=32")
    pack(data, tmp_path / "s", count=2)
    for other, count, shuffle in [(data, 3, None), (data, 2, 1), (data.subset([0, 1]), 2, None)]:
        with pytest.raises(InputError, match="other data or other settings"):
            pack(other, tmp_path / "s", count=count, shuffle=shuffle)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="is not empty"):
        pack(data, tmp_path / "mine")
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_ids_must_differ(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="several pictures of one id"):
        pack(read_data("shapes:n=4,size=32").subset([1, 1]), tmp_path / "s")


def test_a_damaged_picture_stops_the_packing_with_its_name(tmp_path: Path) -> None:
    picture(tmp_path / "d" / "images" / "a.png")
    (tmp_path / "d" / "images" / "b.png").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"b\.png: not a picture"):
        pack(read_data(tmp_path / "d"), tmp_path / "s")
    assert not list((tmp_path / "s").glob("*.tar*")), "no half-written shard"


def test_the_command(tmp_path: Path) -> None:
    arguments = ["pack", "shapes:n=5,size=32", "--out", str(tmp_path / "s"), "--count", "2", "--shuffle", "0"]
    told = CliRunner().invoke(app, [*arguments, "--json"])
    assert told.exit_code == 0, told.output
    assert {"pictures": 5, "shards": 3}.items() <= json.loads(told.stdout).items()
    assert len(read_data(tmp_path / "s")) == 5
    refused = CliRunner().invoke(app, ["pack", "shapes:n=6", "--out", str(tmp_path / "s")])
    assert refused.exit_code == 2 and "other data" in refused.stderr


def test_the_webdataset_library_reads_them(photographs: Path, tmp_path: Path) -> None:
    wds = pytest.importorskip("webdataset")
    data = read_data(photographs)
    pack(data, tmp_path / "s", count=3)
    found = list(wds.WebDataset([str(p) for p in sorted((tmp_path / "s").glob("*.tar"))], shardshuffle=False))
    assert len(found) == len(data)
    for sample, record in zip(found, data.records, strict=True):
        assert json.loads(sample["json"])["id"] == record.id and int(sample["cls"]) == record.label
        suffix = record.id.rpartition(".")[2]
        with Image.open(BytesIO(sample[suffix])) as opened:
            assert sorted(opened.size) == sorted(data.image(record).shape[1:])
