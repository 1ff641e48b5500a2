"""Every kind of picture file, good and bad."""

import io
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise.core.errors import InputError
from maskwise.images import MAX_PIXELS, find_pictures, load_image, load_images, packaged_pictures, resize, to_uint8


def saved(array: np.ndarray, path: Path, mode: str | None = None, **options: object) -> Path:
    Image.fromarray(array, mode).save(path, **options)
    return path


def test_rgb_values_and_shape(tmp_path: Path) -> None:
    array = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    image = load_image(saved(array, tmp_path / "a.png"))
    assert image.shape == (3, 4, 6) and image.dtype == torch.float32
    assert (to_uint8(image) == array).all()


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    array = np.zeros((4, 6, 3), np.uint8)
    array[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn a quarter clockwise to view
    image = load_image(saved(array, tmp_path / "a.png", exif=exif))
    assert image.shape == (3, 6, 4)
    assert image[0, 0, 3] == 1 and image.sum() == 3


def test_grey_sixteen_bit_alpha_palette_cmyk(tmp_path: Path) -> None:
    grey = load_image(saved(np.full((3, 3), 51, np.uint8), tmp_path / "g.png"))
    assert torch.allclose(grey, torch.full((3, 3, 3), 0.2))
    deep = load_image(saved(np.full((3, 3), 32768, np.uint16), tmp_path / "d.png"))
    assert torch.allclose(deep, torch.full((3, 3, 3), 32768 / 65535))
    clear = np.zeros((3, 3, 4), np.uint8)
    clear[0, 0] = (255, 0, 0, 255)
    alpha = load_image(saved(clear, tmp_path / "t.png"))
    assert alpha[:, 0, 0].tolist() == [1, 0, 0] and (alpha[:, 1:] == 1).all(), "transparent lies over white"
    colour = Image.new("RGB", (3, 3), (255, 0, 0))
    colour.convert("P").save(tmp_path / "p.gif")
    colour.convert("CMYK").save(tmp_path / "c.jpg")
    for name in ("p.gif", "c.jpg"):
        red = load_image(tmp_path / name)
        assert red[0].min() > 0.9 and red[1:].max() < 0.1


@pytest.mark.parametrize("case", ["missing", "empty", "text", "truncated", "folder"])
def test_bad_files_are_one_clear_line(case: str, tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    if case == "empty":
        path.touch()
    elif case == "text":
        path.write_text("this is no picture")
    elif case == "truncated":
        noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        saved(noise, path)
        path.write_bytes(path.read_bytes()[:600])
    elif case == "folder":
        path.mkdir()
    with pytest.raises(InputError) as caught:
        load_image(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bomb_is_refused_by_its_header(tmp_path: Path) -> None:
    for side in (13_400, 30_000):  # just beyond the limit, and far
        Image.new("1", (side, side)).save(tmp_path / "bomb.png")
        with pytest.raises(InputError, match="pixels") as caught:
            load_image(tmp_path / "bomb.png")
        assert f"{MAX_PIXELS:,}" in str(caught.value) and side * side > MAX_PIXELS


@pytest.mark.parametrize("suffix", ["jpg", "png", "gif", "webp", "bmp"])
def test_scrambled_files_load_or_say_so(suffix: str, tmp_path: Path) -> None:
    draws = np.random.default_rng(0)
    slope = np.add.outer(np.arange(20), np.zeros((24, 3))).astype(np.uint8)
    whole = saved(slope, tmp_path / f"a.{suffix}").read_bytes()
    path = tmp_path / f"b.{suffix}"
    for _ in range(40):
        data = bytearray(whole[: draws.integers(1, len(whole) + 1)])
        data[draws.integers(len(data))] = draws.integers(256)
        path.write_bytes(data)
        try:
            assert load_image(path).isfinite().all()
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)


def test_a_float_picture_with_nan_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not numbers"):
        load_image(saved(np.full((3, 3), np.nan, np.float32), tmp_path / "n.tif"))


def test_sixteen_bit_pictures_turn_and_grey_may_be_clear(tmp_path: Path) -> None:
    deep = np.zeros((4, 6), np.uint16)
    deep[0, 0] = 65535
    exif = Image.Exif()
    exif[0x0112] = 6
    image = load_image(saved(deep, tmp_path / "d.png", exif=exif))
    assert image.shape == (3, 6, 4) and image[:, 0, 3].tolist() == [1, 1, 1] and image.sum() == 3
    Image.new("LA", (2, 2), (0, 0)).save(tmp_path / "la.png")
    assert (load_image(tmp_path / "la.png") == 1).all()


def test_resize_keeps_a_constant_and_the_mean() -> None:
    assert torch.allclose(resize(torch.full((1, 3, 30, 50), 0.3), 8), torch.tensor(0.3))
    assert resize(torch.rand(1, 3, 64, 64), 16).mean().item() == pytest.approx(0.5, abs=0.03)


def test_load_images_wants_one_size(tmp_path: Path) -> None:
    a = saved(np.zeros((4, 6, 3), np.uint8), tmp_path / "a.png")
    b = saved(np.zeros((5, 6, 3), np.uint8), tmp_path / "b.png")
    assert load_images([a, b], size=8).shape == (2, 3, 8, 8)
    with pytest.raises(InputError, match="differ in size"):
        load_images([a, b])
    with pytest.raises(InputError, match="no pictures"):
        load_images([])


def test_folders_are_searched_and_empty_ones_refused(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    a = saved(np.zeros((4, 6, 3), np.uint8), tmp_path / "sub" / "a.png")
    (tmp_path / "notes.txt").write_text("x")
    assert find_pictures([tmp_path]) == [a]
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match="holds no pictures"):
        find_pictures([tmp_path / "none"])


def test_the_packaged_pictures_are_real() -> None:
    pictures = packaged_pictures()
    assert len(pictures) >= 4
    assert all(load_image(p).std() > 0.1 for p in pictures)


def test_a_broken_tiff_says_nothing_beside_the_error(capfd: pytest.CaptureFixture[str]) -> None:
    """libtiff and Pillow would write lines of their own; what is said after is there again."""

    buffer, draws, refused = io.BytesIO(), random.Random(0), 0
    pixels = np.random.default_rng(0).integers(0, 255, (60, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(buffer, "TIFF", compression="tiff_lzw")
    for k in range(200):
        broken = bytearray(buffer.getvalue())
        for _ in range(6):
            broken[draws.randrange(len(broken) - 200 if k % 2 else 0, len(broken))] = draws.randrange(256)
        try:
            load_image(io.BytesIO(bytes(broken)), "a")
        except InputError:
            refused += 1
    os.write(2, b"after")
    assert refused > 20
    assert capfd.readouterr().err == "after"
