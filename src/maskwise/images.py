"""Pictures in: any file to RGB in [0,1]; pictures out: uint8."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from importlib import resources
from io import BytesIO
from pathlib import Path
from threading import RLock

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from maskwise.core.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
# Pillow reads dozens more, some through other programs (PostScript); what is read here is also fuzzed.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM")
MAX_PIXELS = 61_000_000  # of 16 bytes while they are read: a gigabyte, and a small file may be a bomb
BAND = 1_000_000  # pixels that are converted at once
ORIENTATION = 0x0112
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}  # fmt: skip


def load_image(source: str | Path | BytesIO, name: str | None = None) -> Tensor:
    """One picture (3,H,W), float32 RGB in [0,1], turned as its EXIF orientation says.

    Grey is repeated, 16-bit grey is scaled by 65535, transparency is laid over white, CMYK and palettes are
    converted, and of an animation the first frame is taken.

    Args:
        source: a file's path, or its bytes.
        name: what an error calls it.

    Raises:
        InputError: missing, empty, not a picture, truncated, or larger than ``MAX_PIXELS``.
    """
    return load_turned(source, name)[0]


def load_turned(source: str | Path | BytesIO, name: str | None = None) -> tuple[Tensor, int]:
    """As ``load_image``, and the EXIF orientation, 1 to 8, that the picture was turned by."""
    name = name or str(source)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            raise InputError(f"{name}: is a folder; name the pictures in it")
        if not path.is_file():
            raise InputError(f"{name}: no such file")
        if path.stat().st_size == 0:
            raise InputError(f"{name}: the file is empty (0 bytes)")
    with opened(source, name) as picture:
        orientation = _orientation(picture)
        picture.load()  # which turns a TIFF, and finds what a PNG says at its end
        after = _orientation(picture)
        upright = picture.transpose(TURNS[after]) if after in TURNS else picture
        del picture
        return _tensor(upright), after if after in TURNS else orientation


@contextmanager
def opened(source: str | Path | BytesIO, name: str, what: str = "picture") -> Iterator[Image.Image]:
    """A picture of which only the header has been read.

    Args:
        name: what an error calls it.
        what: it should be; what goes wrong within the block is said of that.

    Raises:
        InputError: not one of ``FORMATS``, more than ``MAX_PIXELS``, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(source, formats=FORMATS) as picture:
                if picture.width * picture.height > MAX_PIXELS:
                    raise InputError(
                        f"{name}: {picture.width}x{picture.height} pixels are more than {MAX_PIXELS:,}; shrink it"
                    )
                with _silent() if picture.format == "TIFF" else nullcontext():
                    yield picture
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a {what} in a format that is known (JPEG, PNG, WebP, TIFF, …)") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: has more than {MAX_PIXELS:,} pixels; shrink it") from None
    except Exception as error:  # damaged files make Pillow's readers raise nearly every kind
        raise InputError(f"{name}: the {what} is damaged ({' '.join(str(error).split())[:100]})") from None


_ONE_AT_A_TIME = RLock()
logging.getLogger("PIL").addHandler(logging.NullHandler())  # else its errors, which are raised as well, go to stderr


@contextmanager
def _silent() -> Iterator[None]:
    """While open, nothing reaches standard error: libtiff writes there itself, past Python, of every damaged tag."""
    with _ONE_AT_A_TIME:
        try:
            kept = os.dup(2)
        except OSError:  # there is none
            yield
            return
        nowhere = os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)


def _orientation(picture: Image.Image) -> int:
    """1, upright, where EXIF is damaged or says nothing that makes sense."""
    try:
        orientation = picture.getexif().get(ORIENTATION, 1)
    except Exception:  # as above; the pixels may be all right
        return 1
    return orientation if orientation in TURNS else 1


def _tensor(picture: Image.Image) -> Tensor:
    """(3,H,W) float32 in [0,1]; band by band, so that hardly more than the picture and its tensor is in memory."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = torch.from_numpy(np.array(picture, dtype=np.float32))
        if not values.isfinite().all():
            raise ValueError("it holds values that are not numbers")
        # 16-bit files say so in their mode (I;16…) or come as 32-bit integers; floats are taken as [0,1] if they are.
        top = 65535.0 if picture.mode.startswith("I") or values.max() > 1 else 1.0
        return values.div_(top).clamp_(0, 1).repeat(3, 1, 1)
    out = torch.empty(3, picture.height, picture.width)
    rows = max(BAND // picture.width, 1)
    for y in range(0, picture.height, rows):
        band = picture.crop((0, y, picture.width, min(y + rows, picture.height)))
        # Bytes are moved apart, then widened: four times less to gather than from floats.
        out[:, y : y + rows] = torch.from_numpy(_to_rgb(band)).permute(2, 0, 1).contiguous()
    return out.div_(255)


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

    RGB that is grey already keeps its values to the last digit.

    Raises:
        InputError: any other change of channels.
    """
    had = images.shape[1]
    if had == channels:
        return images
    if had == 1 and channels == 3:
        return images.expand(-1, 3, -1, -1)
    if had == 3 and channels == 1:
        if torch.equal(images[:, 0], images[:, 1]) and torch.equal(images[:, 0], images[:, 2]):
            return images[:, :1]
        return (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    raise InputError(f"the classifier takes pictures of {channels} channels, and these have {had}")


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Images (N,C,H,W) squashed to (size,size) or (h,w): bilinear, antialiased, clamped to [0,1]."""
    target = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
    if tuple(images.shape[-2:]) == target:
        return images
    return F.interpolate(images, target, mode="bilinear", align_corners=False, antialias=True).clamp(0, 1)


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
    """Values (…) in [0,1] as uint8, rounded; exact for pictures of 8 bits."""
    return (images * 255).round().to(torch.uint8)


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """Files as they are, and folders as the pictures below them, sorted.

    Raises:
        InputError: nothing given, or a folder that holds no picture, or a link to one elsewhere.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
            if not inside:
                raise InputError(f"{path}: the folder holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
            root = path.resolve()
            for one in inside:
                if one.is_symlink() and not one.resolve().is_relative_to(root):
                    raise InputError(f"{one}: is a link out of the folder; name the file itself if you trust it")
            found += inside
        else:
            found.append(path)
    if not found:
        raise InputError("no pictures were given")
    return found


def packaged_pictures() -> list[Path]:
    """The photographs that come with the package (see assets/pictures/LICENSES.md)."""
    folder = Path(str(resources.files("maskwise") / "assets" / "pictures"))
    return sorted(folder.glob("*.jpg"))
