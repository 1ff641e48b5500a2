"""What a visitor sends: checked, read into memory, shrunk, and the file removed at once."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.images import load_image, opened, resize

MAX_BYTES = 20_000_000
MAX_PIXELS = 25_000_000
YOUNG = 60  # seconds
LONGEST = 1024  # pixels of a side: more would only cost time


def take(path: str | Path, inside: str | Path) -> Tensor:
    """The picture (3,H,W) of an uploaded file, which is gone afterwards, whatever happens; its folder a minute later.

    Args:
        path: the file.
        inside: the folder of uploads; a file elsewhere is neither read nor removed.

    Raises:
        InputError: too large, not a picture, or damaged.
    """
    path = Path(path).resolve()
    if not path.is_relative_to(Path(inside).resolve()):
        raise InputError("that is no picture that was sent")
    try:
        return open_picture(path)
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
        _sweep(Path(inside))


def _sweep(uploads: Path) -> None:
    """Removes empty folders, but not young ones: equal pictures share one, and another may be on its way there."""
    with contextlib.suppress(OSError):
        for folder in uploads.iterdir():
            with contextlib.suppress(OSError):
                if folder.is_dir() and time.time() - folder.stat().st_mtime > YOUNG:
                    folder.rmdir()


def open_picture(path: Path) -> Tensor:
    """A picture (3,H,W) of at most ``LONGEST`` pixels a side, after looking at its size only."""
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise InputError(f"the file has more than {MAX_BYTES // 1_000_000} MB; shrink the picture")
    width, height = _size(path)
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width} x {height} pixels are more than {MAX_PIXELS // 1_000_000} million; shrink the picture"
        )
    image = load_image(path, "the picture")
    height, width = image.shape[-2:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return image
    return resize(image[None], (max(round(height * scale), 1), max(round(width * scale), 1)))[0]


def _size(path: Path) -> tuple[int, int]:
    """As the file's header claims; nothing where it can't be read, which ``load_image`` then says better."""
    try:
        with opened(path, "the picture") as header:
            return header.size
    except InputError:
        return (0, 0)
