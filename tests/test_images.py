"""Every kind of picture file, good and bad."""

import io
import math
import os
import random
import struct
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise import images
from maskwise.core.alike import count_alike
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


@pytest.mark.parametrize(
    ("values", "white"),
    [
        (np.linspace(0, 1, 12, dtype=np.float32), 1),
        (np.linspace(0, 255, 12, dtype=np.float32), 255),
        (np.linspace(0, 256, 12, dtype=np.float32), 255),  # resampling overshoots, and what it does is cut off
        (np.linspace(0, 65535, 12, dtype=np.float32), 65535),
        (np.linspace(0, 255, 12).astype(np.int32), 255),
        (np.linspace(0, 40000, 12).astype(np.int32), 65535),
    ],
)
def test_tiffs_of_32_bits_are_scaled_by_what_they_hold(values: np.ndarray, white: int, tmp_path: Path) -> None:
    image = load_image(saved(values.reshape(3, 4), tmp_path / "a.tif"))
    expected = torch.from_numpy((values.astype(np.float64) / white).clip(0, 1).reshape(3, 4))
    assert torch.allclose(image.double(), expected.expand(3, -1, -1), atol=1e-6)


@pytest.mark.parametrize("values", [[-1.0, 1.0], [0.0, 70000.0], [-1000, 400], [0, 65536]])
def test_values_that_can_mean_anything_are_refused(values: list[float], tmp_path: Path) -> None:
    """Such as Hounsfield units: shown as black they would be explained without a word."""
    array = np.array([values], np.int32 if isinstance(values[0], int) else np.float32)
    with pytest.raises(InputError, match=f"its values go from {values[0]:g} to {values[1]:g}, and .* scale them"):
        load_image(saved(array, tmp_path / "a.tif"))


def test_a_picture_that_uses_little_of_its_range_is_said_once(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    count_alike()
    twelve = np.linspace(0, 4095, 12).astype(np.uint16).reshape(3, 4)
    paths = [saved(twelve, tmp_path / f"{name}.png") for name in "ab"]
    assert load_images(paths).max().item() == pytest.approx(4095 / 65535), "the scale stays the file's own"
    assert len(recwarn) == 1
    assert "a.png: uses only 0 to 4095 of 0 to 65535" in str(recwarn[0].message)
    assert "multiply its values by 16.0037 if 12 bits were meant" in str(recwarn[0].message)
    load_image(saved((twelve * 16).astype(np.uint16), tmp_path / "c.png"))
    load_image(saved(np.zeros((3, 4), np.uint16), tmp_path / "d.png"))
    assert len(recwarn) == 1, "black is black"
    load_image(paths[1])
    assert count_alike() == [
        f"2 pictures use less than a tenth of 0 to 65535 (12 bits), of which {paths[0]} is the first"
    ]
    load_image(paths[1])
    assert len(recwarn) == 2 and count_alike() == [], "the next call says it anew, and one is no number"


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


@pytest.mark.filterwarnings("ignore:.*nearly black")
@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_say_what_is_white_however_little_of_them_is_used(suffix: str, tmp_path: Path) -> None:
    """Values up to 255 in a file of 16 bits are dark, where 32 bits would have them as bytes."""
    path = tmp_path / f"a.{suffix}"
    if suffix == "pgm":
        path.write_bytes(b"P5 2 1 65535\n" + np.array([[51, 255]], ">u2").tobytes())
    else:
        saved(np.array([[51, 255]], np.uint16), path)
    assert load_image(path)[0, 0].tolist() == pytest.approx([51 / 65535, 255 / 65535])


@pytest.mark.parametrize(("high", "said"), [(6553, True), (6554, False)])
def test_a_tenth_of_the_range_is_enough(high: int, said: bool, tmp_path: Path) -> None:
    count_alike()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        load_image(saved(np.array([[0, high]], np.uint16), tmp_path / "a.png"))
    assert bool(told) == said


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


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("orientation", images.TURNS)
def test_a_tiff_of_any_orientation_is_upright_by_its_path_too(
    kind: type, compression: str | None, orientation: int, tmp_path: Path
) -> None:
    """Raw grey pixels are mapped into memory where there is a path: those on their side came askew."""
    upright = np.arange(35).reshape(5, 7).astype(kind)
    back = {6: images.TURNS[8], 8: images.TURNS[6]}.get(orientation, images.TURNS[orientation])
    exif = Image.Exif()
    exif[images.ORIENTATION] = orientation
    path = tmp_path / "a.tif"
    Image.fromarray(upright).transpose(back).save(path, exif=exif, compression=compression)
    white = {np.uint8: 255, np.uint16: 65535, np.float32: 255}[kind]
    for source in (path, io.BytesIO(path.read_bytes())):
        image = load_image(source, "a.tif")
        assert image.shape == (3, 5, 7)
        assert torch.allclose(image[0], torch.from_numpy((upright / white).astype(np.float32)), atol=1e-6)


def as_negative(path: Path) -> None:
    """Says in a TIFF of this machine's byte order that its zero is white."""
    content = bytearray(path.read_bytes())
    first = struct.unpack_from("<I", content, 4)[0]
    for entry in range(first + 2, first + 2 + 12 * struct.unpack_from("<H", content, first)[0], 12):
        if struct.unpack_from("<H", content, entry)[0] == 262:
            struct.pack_into("<H", content, entry + 8, 0)
    path.write_bytes(content)


@pytest.mark.parametrize(("kind", "white"), [(np.uint8, 255), (np.uint16, 65535), (np.float32, 1)])
@pytest.mark.parametrize("turned", [1, 6])
def test_a_tiff_whose_zero_is_white_is_no_negative(kind: type, white: int, turned: int, tmp_path: Path) -> None:
    """As scanned films are stored; of more than 8 bits Pillow gives the values as they are."""
    shares = np.linspace(0, 1, 12).reshape(3, 4)
    exif = Image.Exif()
    exif[images.ORIENTATION] = turned
    stored = ((1 - shares) * white).astype(kind)
    Image.fromarray(np.rot90(stored) if turned == 6 else stored).save(tmp_path / "film.tif", exif=exif)
    as_negative(tmp_path / "film.tif")
    image = load_image(tmp_path / "film.tif")
    assert torch.allclose(
        image[0].double(), torch.from_numpy(shares), atol=1.5 / min(white, 255) if white > 1 else 1e-6
    )


def test_a_tiff_of_several_pages_says_that_one_is_read(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    count_alike()
    first, second = (Image.fromarray(np.full((8, 6), value, np.uint16)) for value in (30000, 60000))
    first.save(tmp_path / "stack.tif", save_all=True, append_images=[second])
    first.save(tmp_path / "one.tif")
    small = second.resize((3, 4))  # a preview, which is no page
    first.save(tmp_path / "preview.tif", save_all=True, append_images=[small])
    load_images([tmp_path / "one.tif", tmp_path / "preview.tif"])
    assert not recwarn
    assert load_image(tmp_path / "stack.tif").unique().tolist() == pytest.approx([30000 / 65535])
    assert [str(one.message) for one in recwarn] == [
        f"{tmp_path / 'stack.tif'}: has several pages, of which the first is read; save each as a picture of its own"
    ]
    count_alike()
