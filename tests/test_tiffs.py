"""TIFFs: broken ones, on their side, negatives, and stacks of several pages."""

import io
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from maskwise import images
from maskwise.core.alike import count_alike
from maskwise.core.errors import InputError
from maskwise.images import load_image, load_images


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
