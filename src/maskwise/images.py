"""Pictures in: any file to RGB in [0,1]; pictures out: uint8."""

from __future__ import annotations

import math
from collections.abc import Iterable
from importlib import resources
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from maskwise.core.alike import warn_of_first
from maskwise.core.errors import InputError
from maskwise.deep_pictures import Depth, to_unit_range
from maskwise.picture_headers import MAX_PIXELS, check_is_file, opened

THIN = 4  # times thinner than what it is brought to, and as many times longer: no picture, but a line of pixels
BAND = 1_000_000  # pixels that are converted at once
ORIENTATION = 0x0112
PHOTOMETRIC, WHITE_IS_ZERO = 0x0106, 0  # of a TIFF
SUBFILE, NO_PAGE = 0x00FE, 0b101  # of its pages: a smaller copy, or a mask, of another one
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip
SIDEWAYS = (5, 6, 7, 8)  # orientations that swap width and height


def load_image(source: str | Path | BytesIO, name: str | None = None) -> Tensor:
    """One picture (3,H,W), float32 RGB in [0,1], turned as its EXIF orientation says.

    Grey is repeated, 16-bit grey is scaled by 65535, transparency is laid over white, CMYK and palettes are
    converted, and of an animation the first frame is taken. Floats and 32-bit integers don't say which value is white:
    it is the smallest of 1 (floats only), 255 and 65535 that none of the values passes.

    Args:
        source: a file's path, or its bytes.
        name: what an error calls it.

    Raises:
        InputError: missing, empty, not a picture, truncated, or larger than ``MAX_PIXELS`` or ``MAX_SIDE``.
    """
    return load_turned(source, name)[0]


def load_turned(source: str | Path | BytesIO, name: str | None = None) -> tuple[Tensor, int]:
    """As ``load_image``, and the EXIF orientation, 1 to 8, that the picture was turned by."""
    return _read(source, name)[:2]


def load_shrunk(
    source: str | Path | BytesIO, longest: int, name: str | None = None
) -> tuple[Tensor, tuple[int, int], bool]:
    """As ``load_image``, with no side above ``longest``; the (width, height) that the upright picture had; and whether
    it has more than 8 bits.

    Of a JPEG that is far larger no more than every second, fourth or eighth pixel is decoded: it takes a fraction of
    the time and memory.
    """
    image, _, (width, height), deep = _read(source, name, 2 * longest)
    scale = longest / max(width, height)
    if scale < 1:
        image = resize(image[None], (max(round(height * scale), 1), max(round(width * scale), 1)))[0]
    return image, (width, height), deep


def _read(
    source: str | Path | BytesIO, name: str | None, least: int | None = None
) -> tuple[Tensor, int, tuple[int, int], bool]:
    """Picture, EXIF orientation, upright (width, height), and has it more than 8 bits?

    With ``least`` a JPEG's longer side may be as short.
    """
    name = name or str(source)
    if isinstance(source, (str, Path)):
        check_is_file(source, name)
    with opened(source, name) as picture:
        several = picture.format == "TIFF" and _has_pages(picture)
        orientation = _orientation(picture)
        width, height = picture.size
        if least is not None and max(width, height) > least:
            scale = least / max(width, height)
            picture.draft(None, (math.ceil(width * scale), math.ceil(height * scale)))
        picture.load()  # which turns a TIFF, and finds what a PNG says at its end
        after = _orientation(picture)
        form = picture.format
        # Pillow turns negatives of 8 bits itself, and gives deeper ones as they are stored.
        negative = form == "TIFF" and picture.tag_v2.get(PHOTOMETRIC) == WHITE_IS_ZERO  # type: ignore[attr-defined]
        upright = picture.transpose(TURNS[after]) if after in TURNS else picture
        stored = (height, width) if after in SIDEWAYS else (width, height)
        del picture
        values, depth = _values(upright, form)
        del upright  # before the values are repeated
    # Warnings, too, are said only out here: within the block those of damaged files are silenced.
    if several:
        warn_of_first(
            name,
            "have several pages, of which the first is read",
            f"{name}: has several pages, of which the first is read; save each as a picture of its own",
        )
    image = values if depth is None else to_unit_range(values, depth, name, negative).repeat(3, 1, 1)
    return image, after if after in TURNS else orientation, stored, depth is not None


def _orientation(picture: Image.Image) -> int:
    """1, upright, where EXIF is damaged or says nothing that makes sense."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # as above; the pixels may be all right
        return 1
    return orientation if orientation in TURNS else 1


def _has_pages(picture: Any) -> bool:
    """Is there a second page of the same size, as a stack of slices has?"""
    size = picture.size
    try:
        picture.seek(1)
        return bool(picture.size == size and not picture.tag_v2.get(SUBFILE, 0) & NO_PAGE)
    except Exception:  # there is none, or it is damaged
        return False
    finally:
        picture.seek(0)


def _values(picture: Image.Image, form: str | None) -> tuple[Tensor, Depth | None]:
    """(3,H,W) float32 in [0,1]; or, where there are more than 8 bits, (H,W) as stored and which values these are.

    Bytes come band by band, so that hardly more than the picture and its tensor is in memory.
    """
    if picture.mode.startswith("I") or picture.mode == "F":
        # PNG and PPM have 16 bits even where Pillow gives 32; 32 bits of a TIFF may be anything.
        sixteen = picture.mode.startswith("I;16") or (picture.mode == "I" and form in ("PNG", "PPM"))
        depth: Depth = "16 bits" if sixteen else "floats" if picture.mode == "F" else "integers"
        return torch.from_numpy(np.array(picture, dtype=np.float32)), depth
    out = torch.empty(3, picture.height, picture.width)
    rows = max(BAND // picture.width, 1)
    for y in range(0, picture.height, rows):
        band = picture.crop((0, y, picture.width, min(y + rows, picture.height)))
        # Bytes are moved apart, then widened: four times less to gather than from floats.
        out[:, y : y + rows] = torch.from_numpy(_to_rgb(band)).permute(2, 0, 1).contiguous()
    return out.div_(255), None


def _to_rgb(picture: Image.Image) -> np.ndarray:
    """(H,W,3) uint8."""
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))


LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's


def with_channels(images: Tensor, channels: int) -> Tensor:
    """Images (N,c,H,W) with so many channels: grey is repeated for RGB, and RGB becomes grey by its luma.

    Pixels of RGB that are grey already keep their values to the last digit.

    Raises:
        InputError: any other change of channels.
    """
    had = images.shape[1]
    if had == channels:
        return images
    if had == 1 and channels == 3:
        return images.expand(-1, 3, -1, -1)
    if had == 3 and channels == 1:
        red, green, blue = images.split(1, 1)
        is_grey = (red == green) & (red == blue)  # asked of each pixel, so that crops and batches change nothing
        return torch.where(is_grey, red, (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True))
    raise InputError(f"the classifier takes pictures of {channels} channels, and these have {had}")


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Images (N,C,H,W) squashed to (size,size) or (h,w): bilinear, antialiased, clamped to [0,1].

    Maps whose signs mean something would lose all below 0: ``resize_maps`` is for maps.
    """
    same = tuple(images.shape[-2:]) == ((size, size) if isinstance(size, int) else tuple(size))
    return images if same else _resized(images, size).clamp(0, 1)


def resize_maps(maps: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Maps (…,H,W) of whatever values, as ``resize`` has pictures: signs stay, and no map leaves its own range.

    Example:
        >>> resize_maps(torch.full((4, 4), -0.5), 2)
        tensor([[-0.5000, -0.5000],
                [-0.5000, -0.5000]])
    """
    height, width = maps.shape[-2:]
    given = maps.reshape(-1, 1, height, width)
    resized = _resized(given, size).clamp(given.amin((-2, -1), keepdim=True), given.amax((-2, -1), keepdim=True))
    return resized.reshape(*maps.shape[:-2], *resized.shape[-2:])


def _resized(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Not yet clamped: by rounding, values may leave the range of those of ``images`` (N,C,H,W)."""
    h, w = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    height, width = images.shape[-2:]
    if (height, width) == (h, w):
        return images
    thin = w > THIN * width and height > THIN * h
    if thin or (height * w > MAX_PIXELS and h * width < height * w):
        # Rows are brought to the new width first, and of a tall picture that is far more than what comes out.
        images = _interpolated(images, (h, width))
    return _interpolated(images, (h, w))


def _interpolated(images: Tensor, size: tuple[int, int]) -> Tensor:
    if images.shape[-1] == size[1] == 1:  # which torch gets wrong on a CPU (seen with 2.15)
        return _interpolated(images.expand(-1, -1, -1, 2), (size[0], 2))[..., :1]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


def load_images(paths: Iterable[str | Path] | str | Path, size: int | tuple[int, int] | None = None) -> Tensor:
    """Pictures as one tensor (N,3,H,W).

    Args:
        paths: files.
        size: squash all to this side, or (h,w); None keeps them, so they must be of one size.

    Raises:
        InputError: a picture that can't be read, none given, or sizes that differ.
    """
    names = [paths] if isinstance(paths, (str, Path)) else list(paths)
    if not names:
        raise InputError("no pictures were given")
    images = [load_image(p)[None] for p in names]
    if size is not None:
        images = [resize(image, size) for image in images]
    if len({image.shape for image in images}) > 1:
        raise InputError("the pictures differ in size: give load_images a size, or load them one by one")
    return torch.cat(images)


def to_uint8(image: Tensor) -> np.ndarray:
    """(H,W,3) uint8 of a picture (3,H,W) in [0,1], rounded."""
    return (image.detach().cpu().clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()


def to_bytes(images: Tensor) -> Tensor:
    """Values (…) in [0,1] as uint8, rounded; exact for pictures of 8 bits. What lies outside is 0 or 255."""
    return (images * 255).round().clamp(0, 255).to(torch.uint8)


def packaged_pictures() -> list[Path]:
    """The photographs that come with the package (see assets/pictures/LICENSES.md)."""
    folder = Path(str(resources.files("maskwise") / "assets" / "pictures"))
    return sorted(folder.glob("*.jpg"))
