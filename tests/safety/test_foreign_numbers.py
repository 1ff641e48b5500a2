"""Numbers in files that anybody wrote or that a disk changed: each kind was a traceback, or took all memory."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzz.kept import TEXTS
from fuzz.shards import INDEX, SET, packed, tarred
from PIL import Image
from safetensors.torch import save

from maskwise.classifiers.onnx_file import OnnxBox
from maskwise.core.errors import InputError
from maskwise.core.npy import read_npy
from maskwise.core.torch_file import MOST_TENSORS
from maskwise.core.weights import read_weights
from maskwise.data import read_data
from maskwise.data.object_masks import MOST, object_masks
from maskwise.evaluation.apart import seen_classes
from maskwise.evaluation.map_files import read_map_file
from maskwise.evaluation.maps import MapFolder
from maskwise.training.label_file import LabelFile
from maskwise.training.tap_file import TapFile

CUT = '{"rows": {"a": 5}, "numbers": 5}'


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MASKWISE_CACHE", str(tmp_path / "cache"))


def png(side: int = 8, mode: str = "RGB") -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (side, side)).save(stream, "PNG")
    return stream.getvalue()


def npy(array: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


def shards(folder: Path, change: dict[str, Any], row: dict[str, Any]) -> Path:
    """A packed data set; its first shard's index, and the first row of that, have other values."""
    folder.mkdir()
    for name, content in packed().items():
        (folder / name).write_bytes(content)
    index = {**json.loads(packed()[INDEX]), **change}
    index["samples"][0] |= row
    (folder / INDEX).write_text(json.dumps(index))
    return folder


@pytest.mark.parametrize(
    ("change", "row"),
    [
        ({"bytes": float("inf")}, {}),
        ({}, {"label": float("inf")}),
        ({}, {"category": 10**8}),  # of which a table of names would be made
        ({}, {"label": -1}),
        ({}, {"label": 2.5}),
        ({}, {"box_classes": [2**70]}),
        ({}, {"whole": [0, 2**40], "picture": ["png", 0, 1]}),
        ({"classes": ["a"] * 1_000_001}, {}),
    ],
)
def test_an_index_of_shards_is_believed_within_bounds(change: Any, row: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the index of a shard"):
        read_data(str(shards(tmp_path / "s", change, row)))


@pytest.mark.parametrize("name", [INDEX, SET])
def test_a_pipe_in_place_of_an_index_is_not_waited_for(name: str, tmp_path: Path) -> None:
    folder = shards(tmp_path / "s", {}, {})
    (folder / name).unlink()
    os.mkfifo(folder / name)
    with pytest.raises(InputError, match="is not a file|has no index"):
        read_data(str(folder) if name == INDEX else f"shards:{folder}")


def test_a_pipe_in_place_of_a_shard_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.tar")
    with pytest.raises(InputError, match="is not a file"):
        read_data(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("kind", [b"L", b"K", b"x", b"g", b"X"])
@pytest.mark.parametrize("size", [2**35, 2**62, 2**87])
def test_a_header_that_says_it_has_gigabytes(kind: bytes, size: int, tmp_path: Path) -> None:
    whole = bytearray(tarred({"a.png": png()}))
    whole[156:157], whole[124:136] = kind, b"\x80" + size.to_bytes(11, "big")
    whole[148:156] = b" " * 8
    whole[148:156] = b"%06o\0 " % sum(whole[:512])
    (tmp_path / "a.tar").write_bytes(whole)
    with pytest.raises(InputError, match="can't be read as an uncompressed tar"):
        read_data(str(tmp_path / "a.tar"))


def test_a_member_of_gigabytes_that_holds_none(tmp_path: Path) -> None:
    """A file with a hole takes no room on the disk, but did in memory."""
    head = tarfile.TarInfo("a.json")
    head.size = 2**33
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(tarred({"a.png": png()})[:1024] + head.tobuf(tarfile.GNU_FORMAT))
        file.truncate(file.tell() + head.size + 1024)
    with pytest.raises(InputError, match="more than 32 MB"):
        read_data(str(tmp_path / "a.tar"))


@pytest.mark.parametrize("array", [np.array([{}], object), np.zeros((3, 4, 4), "M8[s]")])
def test_arrays_of_no_numbers_are_no_pictures(array: Any, tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(tarred({"a.npy": npy(array)}))
    with pytest.raises(InputError, match="numbers"):
        read_data(str(tmp_path / "a.tar"))[0]


def test_an_archive_of_arrays_is_no_picture(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros((3, 4, 4), np.float32))
    for content in (stream.getvalue(), b"PK\x03\x04" + bytes(50)):
        (tmp_path / "a.tar").write_bytes(tarred({"a.npy": content}))
        with pytest.raises(InputError, match="no arrays of NumPy"):
            read_data(str(tmp_path / "a.tar"))[0]


def test_a_box_of_hundreds_of_digits(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(
        tarred({"a.png": png(), "a.json": b'{"boxes": [[0, 0, 1' + b"0" * 400 + b", 4]]}"})
    )
    with pytest.raises(InputError, match="is not four numbers"):
        read_data(str(tmp_path / "a.tar"))


def test_masks_of_objects_are_counted_before_one_is_made() -> None:
    def never() -> Any:
        raise AssertionError("a mask was made")
        yield

    with pytest.raises(InputError, match="more than 512 MB"):
        object_masks(never(), MOST // 10**6 + 1, 1000, 1000, "a")
    assert object_masks([torch.ones(2, 3) > 0] * 2, 2, 2, 3, "a").sum() == 12


def test_a_listing_of_twenty_thousand_objects(tmp_path: Path) -> None:
    one = {"image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 4], "segmentation": [[0, 0, 4, 0, 4, 4]]}
    table = {
        "categories": [{"id": 1, "name": "dog"}], "images": [{"id": 1, "file_name": "a.png"}],
        "annotations": [one] * 20_000,
    }  # fmt: skip
    for name, content in (("val/a.png", png(500)), ("annotations/instances_val.json", json.dumps(table).encode())):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match="20,000 objects"):
        read_data(f"coco:{tmp_path}@val")[0]


@pytest.mark.parametrize("key", [1, None, ("a",)])
def test_tensors_whose_names_are_no_text(key: Any, tmp_path: Path) -> None:
    torch.save({key: torch.zeros(2)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match="not a state dict"):
        read_weights(tmp_path / "a.pth")


def test_more_tensors_than_any_network_has(tmp_path: Path) -> None:
    state = {str(i): torch.zeros(1) for i in range(MOST_TENSORS + 1)}
    (tmp_path / "a.safetensors").write_bytes(save(state))
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    for name in ("a.safetensors", "a.pth", "b.pth"):
        with pytest.raises(InputError, match="more than 10,000 tensors"):
            read_weights(tmp_path / name)


@pytest.mark.parametrize("recipe", ["[", "[]", "5", '{"classes": ["a"]}', "[" * 100_000])
def test_a_recipe_in_a_header_that_says_nothing(recipe: str, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(save({}, {"format": "maskwise-masker-1", "recipe": recipe}))
    with pytest.raises(InputError, match="recipe can't be read"):
        seen_classes(tmp_path / "a.safetensors")


def test_a_kept_map_that_unpacks_to_gigabytes_is_made_again(tmp_path: Path) -> None:
    maps = MapFolder(tmp_path)
    maps.write("run", "a", torch.eye(4))
    assert torch.equal(maps.read("run", "a"), torch.eye(4))  # type: ignore[arg-type]
    path = next((tmp_path / "run").iterdir())
    head = npy(np.zeros((0, 60_000), np.float32)).replace(b"(0, 60000)", b"(60000, 60000)"[:10] + b"0)  ")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("map.npy", head + bytes(1000))
    assert maps.read("run", "a") is None
    path.write_bytes(path.read_bytes()[:-30])
    assert maps.read("run", "a") is None


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY\1\0\x0a\0((((((((((", b"PK\3\4" + bytes(40), npy(np.eye(2))])
def test_kept_arrays_that_are_damaged(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(content)
    with pytest.raises(InputError, match="delete it"):
        TapFile(tmp_path / "a", 4)
    with pytest.raises(InputError, match="delete it"):
        LabelFile(tmp_path / "a")


def test_a_teacher_s_file_is_not_larger_in_memory_than_on_disk(tmp_path: Path) -> None:
    """What the package writes is not compressed, so what is would unpack to any size."""
    maps = {"keys": np.array(["a"]), "maps": np.zeros((1, 500, 500), np.float16)}
    np.savez(tmp_path / "stored.npz", **maps)
    assert list(LabelFile(tmp_path / "stored.npz").maps) == ["a"]
    np.savez_compressed(tmp_path / "packed.npz", **maps)
    with pytest.raises(InputError, match="compressed, which this package's are not.*delete it"):
        LabelFile(tmp_path / "packed.npz")


@pytest.mark.parametrize("kind", TEXTS)
@pytest.mark.parametrize("content", ["", "5", "null", "[" * 99_999, "[]", '{"rows": {"a": 5}, "numbers": 5}', "\udcff"])
def test_kept_numbers_that_are_damaged(kind: str, content: str, tmp_path: Path) -> None:
    """They are made again, or the line says to delete them."""
    file, _, read = TEXTS[kind]
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_bytes(content.encode("utf-8", "surrogateescape"))
    if kind == "cell" or (kind == "cells" and content == CUT):
        with pytest.raises(InputError, match="delete it|belongs to another run"):
            read(tmp_path)
    else:
        read(tmp_path)


@pytest.mark.parametrize("shape", ["(True, True)", "(1,) * 70", "(" + "1, " * 70 + ")", "(-1, 2)", "(2.0, 2)"])
def test_shapes_that_no_array_has(shape: str) -> None:
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}}}".encode()
    head += b" " * (63 - len(head) % 64) + b"\n"
    with pytest.raises(InputError):
        read_npy(io.BytesIO(b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head + bytes(64)), 100)


def test_arrays_that_no_reader_can_bound(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("map.npy", npy(np.eye(2)))
    with pytest.raises(InputError, match="another method"):
        read_map_file(tmp_path / "a.npz")


@pytest.mark.parametrize("name", ["/dev/zero", "/etc/passwd", "../a.onnx", "nothing", ".", "a" * 5000])
def test_weights_of_a_graph_that_lie_elsewhere(name: str, tmp_path: Path) -> None:
    """They were read for its digest: without end, where they are a device."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    tensor = onnx.TensorProto(name="w", data_type=1, dims=[5], data_location=1)
    tensor.external_data.add(key="location", value=name)
    graph = onnx.helper.make_graph([], "g", [], [], [tensor])
    path = tmp_path / "inner" / "a.onnx"
    path.parent.mkdir()
    (tmp_path / "a.onnx").write_bytes(bytes(20))
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(InputError, match="no file beside it"):
        OnnxBox(path)


def test_an_array_is_no_larger_than_its_file() -> None:
    whole = npy(np.arange(6, dtype=np.int16).reshape(2, 3))
    assert read_npy(io.BytesIO(whole), 6).tolist() == [[0, 1, 2], [3, 4, 5]]
    assert read_npy(io.BytesIO(npy(np.asfortranarray(np.eye(3)[:2]))), 6).tolist() == [[1, 0, 0], [0, 1, 0]]
    for most, longest, content, said in (
        (5, None, whole, "more than 5"), (6, 2, whole, "side of more than 2"), (6, None, whole[:-1], "end too early"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said):
            read_npy(io.BytesIO(content), most, longest)
