"""Pictures in: any file to RGB in [0,1]; pictures out: uint8."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from importlib import resources
from io import BytesIO
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from maskwise.errors import InputError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
MAX_PIXELS = 178_956_970  # where Pillow itself refuses (twice its warning's limit): a small file may be a bomb


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
    name = name or str(source)
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            raise InputError(f"{name}: is a folder; name the pictures in it")
        if not path.is_file():
            raise InputError(f"{name}: no such file")
        if path.stat().st_size == 0:
            raise InputError(f"{name}: the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(source)
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(
                    f"{name}: {picture.width}x{picture.height} pixels are more than {MAX_PIXELS:,}; shrink it"
                )
            array = _to_rgb(ImageOps.exif_transpose(picture))
    except InputError:
        raise
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture in a format that is known (JPEG, PNG, WebP, TIFF, …)") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: has more than {MAX_PIXELS:,} pixels; shrink it") from None
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError, IndexError, TypeError, KeyError) as error:
        raise InputError(f"{name}: the picture is damaged ({' '.join(str(error).split())[:100]})") from None
    return torch.from_numpy(array).permute(2, 0, 1).contiguous()


def _to_rgb(picture: Image.Image) -> np.ndarray:
    """(H,W,3) float32 in [0,1]."""
    if picture.mode.startswith("I") or picture.mode == "F":
        values = np.asarray(picture, dtype=np.float32)
        if not np.isfinite(values).all():
            raise ValueError("it holds values that are not numbers")
        # 16-bit files say so in their mode (I;16…) or come as 32-bit integers; floats are taken as [0,1] if they are.
        top = 65535.0 if picture.mode.startswith("I") or values.max(initial=0) > 1 else 1.0
        return np.repeat(np.clip(values / top, 0, 1)[..., None], 3, axis=2)
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.asarray(picture.convert("RGB"), dtype=np.float32) / 255


def resize(images: Tensor, size: int | tuple[int, int]) -> Tensor:
    """Images (N,3,H,W) squashed to (size,size) or (h,w): bilinear, antialiased, clamped to [0,1]."""
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


def find_pictures(paths: Sequence[str | Path]) -> list[Path]:
    """Files as they are, and folders as the pictures below them, sorted.

    Raises:
        InputError: nothing given, or a folder that holds no picture.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
            if not inside:
                raise InputError(f"{path}: the folder holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
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
