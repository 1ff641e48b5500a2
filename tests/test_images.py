"""Every kind of picture file, good and bad."""

import io
import math
import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise import images
from maskwise.core.errors import InputError
from maskwise.data.store import Folder
from maskwise.formats import readable_formats
from maskwise.images import (
    load_image,
    load_images,
    packaged_pictures,
    resize,
    to_uint8,
)
from maskwise.picture_headers import MAX_PIXELS, MAX_SIDE, find_pictures


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


@pytest.mark.skipif("AVIF" not in readable_formats(), reason="this Pillow reads no AVIF")
def test_avif_is_read_and_found(tmp_path: Path) -> None:
    array = np.zeros((20, 30, 3), np.uint8)
    array[:, 16:] = (200, 100, 50)
    path = saved(array, tmp_path / "a.avif", quality=100, subsampling="4:4:4")
    image = load_image(path)
    assert image.shape == (3, 20, 30)
    assert (image * 255 - torch.from_numpy(array).permute(2, 0, 1)).abs().max() < 4
    assert find_pictures([tmp_path]) == [path]


def test_an_avif_that_pillow_does_not_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"it is an AVIF picture that can't be read \(Pillow 11\.3"):
        load_image(_file(tmp_path, b"\0\0\0\x1cftypavif\0\0\0\0"))


@pytest.mark.parametrize(
    ("head", "what"),
    [
        (b"\0\0\0\x24ftypheic\0\0\0\0mif1heic", "a HEIC picture: to read it install"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0", "a HEIC picture"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version='1.0'?><svg width='1'/>", "a drawing"),
        (b"%PDF-1.7", "a PDF"),
        (b"8BPS\0\1", "a Photoshop file"),
        (b"\xff\x0a\0", "a JPEG XL"),
        (b"\0" * 128 + b"DICM", "a DICOM file"),
        (b"version https://git-lfs.github.com/spec/v1", "only a pointer of Git LFS"),
        (b"II*\0\x08\0\0\0\0\0", "a TIFF that is damaged or of a kind"),
    ],
)
def test_what_is_no_picture_is_called_by_its_name(head: bytes, what: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"not a picture in a format that is known .*; it is {what}"):
        load_image(_file(tmp_path, head))
    with pytest.raises(InputError, match=what):
        load_image(io.BytesIO(head), "sent")


def _file(folder: Path, data: bytes) -> Path:
    path = folder / "a.jpg"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("name", ["https://example.org/dog.jpg", "s3://dogs/dog.jpg"])
def test_a_url_is_called_one(name: str) -> None:
    for path in (name, Path(name)):
        with pytest.raises(InputError, match="is a URL, and pictures are read from files; download it first"):
            load_image(path)


@pytest.mark.parametrize("size", [(1, MAX_SIDE + 1), (MAX_SIDE + 1, 1), (1, 700_000), (5_000_000, 1)])
def test_sides_are_bounded_as_well_as_the_area(size: tuple[int, int], tmp_path: Path) -> None:
    Image.new("1", size).save(tmp_path / "long.png")
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} pixels, and no side may pass 65,535"):
        load_image(tmp_path / "long.png")


def test_the_longest_pictures_are_read(tmp_path: Path) -> None:
    for size in ((1, MAX_SIDE), (MAX_SIDE, 1)):
        Image.new("L", size, 51).save(tmp_path / "long.png")
        image = load_image(tmp_path / "long.png")
        assert torch.allclose(resize(image[None], 8), torch.tensor(0.2), atol=1e-4)


def test_a_tall_picture_is_resized_along_its_longer_side_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both orders give the same, and the bound decides by what lies between."""
    image = torch.rand(1, 3, 900, 20, generator=torch.Generator().manual_seed(0))
    expected = resize(image, (20, 60))
    sizes: list[tuple[int, int]] = []
    whole = images._interpolated
    monkeypatch.setattr(images, "_interpolated", lambda x, size: sizes.append(size) or whole(x, size))
    monkeypatch.setattr(images, "MAX_PIXELS", 900 * 60 - 1)
    assert torch.allclose(resize(image, (20, 60)), expected, atol=1e-6)
    assert sizes == [(20, 20), (20, 60)]
    sizes.clear()
    monkeypatch.setattr(images, "MAX_PIXELS", 900 * 60)
    assert torch.equal(resize(image, (20, 60)), expected)
    assert sizes == [(20, 60)]


@pytest.mark.parametrize("size", [(224, 224), (10, 1), (100, 1), (1, 1)])
@pytest.mark.parametrize("shape", [(2000, 1), (50, 1), (1, 2000), (1, 1)])
def test_lines_of_pixels_are_resized_as_two_products_say(shape: tuple[int, int], size: tuple[int, int]) -> None:
    """Each side by its matrix of triangle weights, in float64; torch alone is wrong where one column stays one."""
    image = torch.rand(1, 3, *shape, generator=torch.Generator().manual_seed(0))
    down, across = (triangles(old, new) for old, new in zip(shape, size, strict=True))
    expected = down @ image.double() @ across.T
    assert torch.allclose(resize(image, size).double(), expected, atol=1e-5)


def triangles(old: int, new: int) -> torch.Tensor:
    """(new,old): weights of the pixels by their distance from each new pixel's centre, at least a pixel wide."""
    scale = max(old / new, 1.0)
    centres = (torch.arange(new, dtype=torch.float64) + 0.5) * old / new
    weights = 1 - ((torch.arange(old, dtype=torch.float64) + 0.5)[None] - centres[:, None]).abs() / scale
    return weights.clamp(min=0) / weights.clamp(min=0).sum(1, keepdim=True)


@pytest.mark.parametrize(("shape", "size"), [((65535, 1), (224, 224)), ((224, 224), (1, 65535))])
def test_what_lies_between_is_no_larger_than_what_comes_out(
    shape: tuple[int, int], size: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a line of 65,535 pixels 176 MB lay between, and so for a map that becomes one."""
    sizes: list[tuple[int, int]] = []
    whole = images._interpolated
    monkeypatch.setattr(images, "_interpolated", lambda x, size: sizes.append(size) or whole(x, size))
    resize(torch.rand(1, 3, *shape), size)
    assert sizes[-1] == size and max(h * w for h, w in sizes) <= max(math.prod(shape), math.prod(size)), sizes
    sizes.clear()
    resize(torch.rand(1, 3, 20, 5), (30, 90))
    assert sizes == [(30, 90)], "one that only grows is as it always was, to the last bit"


def test_what_lies_beside_pictures_is_passed_over(tmp_path: Path) -> None:
    """Dot files and folders, what systems keep, results of ours, and the folder that results go to."""
    array = np.zeros((4, 6, 3), np.uint8)
    names = ("dog.png", "._dog.png", ".cache/a.png", "@eaDir/dog.png/THUMB.png", "__MACOSX/dog.png", "old/dog/map.png",
             "run/looks/1.png", "explained/figure.png", "more/explained/cat.png", "results/cat.png")  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        saved(array, tmp_path / name)
    for name in ("old/dog/map.npy", "old/dog/result.json", "run/log.jsonl", "run/recipe.yaml", "results/result.json"):
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_pictures([tmp_path], tmp_path / "explained")]
    assert found == ["dog.png", "more/explained/cat.png", "results/cat.png"]
    assert Folder(tmp_path).walk() == sorted([*found, "explained/figure.png"]), "data sets are walked alike"
    assert find_pictures([tmp_path / "old" / "dog"]) == [tmp_path / "old" / "dog" / "map.png"], "who names it gets it"
    assert find_pictures([tmp_path / "explained"], tmp_path / "explained"), "the folder itself is the one asked for"


def test_a_telephones_pictures_are_not_left_out_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "a.HEIC").write_bytes(b"\0\0\0\x24ftypheic\0\0\0\0mif1heic")
    assert find_pictures([tmp_path]) == [tmp_path / "a.HEIC"]


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_a_link_to_itself_is_no_picture(tmp_path: Path) -> None:
    saved(np.zeros((4, 6, 3), np.uint8), tmp_path / "a.png")
    (tmp_path / "loop").symlink_to("loop")
    assert find_pictures([tmp_path]) == [tmp_path / "a.png"]


@pytest.mark.parametrize("content", [
    b"P2 1500 1500 255\n" + b"1 " * 2_250_000, b"P3 900 800 255\n" + b"1 " * 2_160_000, b"P1 7800 7800\n1",
    b"P2 4 4 255\n" + b"#\n" * 17_000_000, b"P6 900 800 100\n" + b"\1" * 2_160_000,
])  # fmt: skip
def test_a_ppm_of_plain_text_has_a_bound_of_its_own(content: bytes) -> None:
    """Pillow reads it number by number in Python: 40 MB took five seconds."""
    began = time.process_time()
    with pytest.raises(InputError, match="numbers as plain text"):
        load_image(io.BytesIO(content), "a.ppm")
    assert time.process_time() - began < 1


def test_a_small_ppm_of_plain_text_is_read() -> None:
    assert load_image(io.BytesIO(b"P3 2 1 255\n255 0 0 0 51 255\n"), "a.ppm").flatten(1).tolist() == [
        [1.0, 0.0], [0.0, pytest.approx(0.2)], [0.0, 1.0],
    ]  # fmt: skip


def test_a_webp_is_bounded_by_what_its_reader_takes() -> None:
    """7,800 x 7,800 pixels took 1.3 GB."""
    stream = io.BytesIO()
    Image.new("RGB", (7000, 6000)).save(stream, "WEBP", quality=1, method=0)
    with pytest.raises(InputError, match="7000x6000 pixels are more than 40,666,666"):
        load_image(stream, "a.webp")
