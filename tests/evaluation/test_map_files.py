"""Map files of every kind: read as they are, or one reason why not."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.evaluation.map_files import read_map_file

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)


def written(path: Path, array: Any) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".npz":
        np.savez_compressed(path, array)
    else:
        Image.fromarray(array).save(path)
    return path


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".png"])
@pytest.mark.parametrize(("kind", "white"), [("uint8", 255.0), ("uint16", 65535.0)])
def test_integers_of_8_and_16_bits(tmp_path: Path, suffix: str, kind: str, white: float) -> None:
    values = GREY.astype(kind) * (1 if kind == "uint8" else 2000)
    found = read_map_file(written(tmp_path / f"a{suffix}", values))
    assert found.white == white and torch.equal(found.values, torch.from_numpy(values.astype(np.float32)))


@pytest.mark.parametrize("shape", [(4, 6), (1, 4, 6), (4, 6, 1), (1, 1, 4, 6), (1, 4, 6, 1)])
@pytest.mark.parametrize("kind", ["float16", "float32", "float64", "int64", "bool", ">f4"])
def test_shapes_and_kinds(tmp_path: Path, shape: tuple[int, ...], kind: str) -> None:
    values = (GREY % 2).astype(kind)
    found = read_map_file(written(tmp_path / "a.npy", values.reshape(shape)))
    assert found.white == 1 and torch.equal(found.values, torch.from_numpy(values.astype(np.float32)))


def test_columns_first_and_one_row(tmp_path: Path) -> None:
    values = GREY.astype(np.float32)
    assert torch.equal(
        read_map_file(written(tmp_path / "a.npy", np.asfortranarray(values))).values, torch.from_numpy(values)
    )
    assert read_map_file(written(tmp_path / "b.npy", values[:1])).values.shape == (1, 6)


def test_grey_however_a_png_stores_it(tmp_path: Path) -> None:
    for mode in ("L", "RGB", "RGBA", "LA", "P"):
        path = tmp_path / f"{mode}.png"
        Image.fromarray(GREY).convert(mode).save(path)
        assert torch.equal(read_map_file(path).values, torch.from_numpy(GREY.astype(np.float32))), mode
    Image.fromarray(GREY > 11).save(tmp_path / "1.png")
    found = read_map_file(tmp_path / "1.png")
    assert found.white == 1 and torch.equal(found.values, torch.from_numpy((GREY > 11).astype(np.float32)))


def test_the_map_among_several_arrays(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", map=GREY, picture=np.array("dog.jpg"))
    assert read_map_file(tmp_path / "a.npz").values.shape == (4, 6)
    np.savez(tmp_path / "c.npz", mask=GREY > 3, map=GREY, maps=GREY[:2])
    assert torch.equal(read_map_file(tmp_path / "c.npz").values, torch.from_numpy(GREY.astype(np.float32)))
    np.savez(tmp_path / "b.npz", first=GREY, second=GREY)
    with pytest.raises(InputError, match="hold 2 arrays, of which none is called 'map'"):
        read_map_file(tmp_path / "b.npz")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("ran"),))


def header_only(shape: str) -> bytes:
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (np.full((4, 6), np.nan), "hold NaN or infinity"),
        (np.full((4, 6), 1e300), "hold NaN or infinity"),
        (np.zeros((3, 4, 6)), r"have the shape \(3, 4, 6\)"),
        (np.zeros(6), r"have the shape \(6,\)"),
        (np.zeros((0, 6)), r"have the shape \(0, 6\)"),
        (np.zeros((4, 6), complex), "hold complex128"),
        (np.array([["a"]]), "hold str"),
        pytest.param(np.array([[Bomb()]], object), "hold objects", id="objects"),
        (b"", "are damaged"),
        (pickle.dumps(Bomb()), "are damaged"),
        (header_only("(2, 3)"), "end too early"),
        (header_only("(60000, 60000)"), "more than"),
        (header_only("(100000, 1)"), "more than"),
        (header_only("(-1, 2)"), "more than"),
    ],
    ids=str,
)
@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str, content: Any, why: str) -> None:
    monkeypatch.chdir(tmp_path)
    if not isinstance(content, bytes):
        stream = io.BytesIO()
        np.save(stream, content, allow_pickle=True)
        content = stream.getvalue()
    path = tmp_path / f"a{suffix}"
    if suffix == ".npz":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("map.npy", content)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=why):
        read_map_file(path)
    assert not Path("ran").exists()


def test_pictures_and_damage_are_refused(tmp_path: Path) -> None:
    colour = np.stack([GREY, GREY, GREY + 1], 2)
    Image.fromarray(colour).save(tmp_path / "colour.png")
    faint = Image.fromarray(GREY).convert("RGBA")
    faint.putalpha(100)
    faint.save(tmp_path / "faint.png")
    for name in ("colour.png", "faint.png"):
        with pytest.raises(InputError, match="in colour or with transparency"):
            read_map_file(tmp_path / name)
    whole = written(tmp_path / "whole.png", np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:900])
    (tmp_path / "not.npz").write_bytes(b"PK\x03\x04 and no zip")
    (tmp_path / "lost.npy").symlink_to(tmp_path / "nowhere")
    for name in ("cut.png", "not.npz"):
        with pytest.raises(InputError, match="damaged"):
            read_map_file(tmp_path / name)
    with pytest.raises(InputError, match="can't be read"):
        read_map_file(tmp_path / "lost.npy")
