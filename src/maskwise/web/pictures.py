"""What a visitor sends: checked, decoded and shrunk."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.images import load_image, opened, resize

MAX_BYTES = 20_000_000
MAX_PIXELS = 25_000_000
LONGEST = 1024  # pixels of a side: more would only cost time


def open_picture(source: Path | bytes) -> Tensor:
    """A picture (3,H,W) of at most ``LONGEST`` pixels a side, after looking at its size only.

    Args:
        source: a file, or what is in it.

    Raises:
        InputError: too large, not a picture, or damaged.
    """
    size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else 0
    if size > MAX_BYTES:
        raise InputError(f"the file has more than {MAX_BYTES // 1_000_000} MB; shrink the picture")
    if not size and isinstance(source, bytes):
        raise InputError("the picture: the file is empty (0 bytes)")
    width, height = _size(_readable(source))
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{width} x {height} pixels are more than {MAX_PIXELS // 1_000_000} million; shrink the picture"
        )
    image = load_image(_readable(source), "the picture")
    height, width = image.shape[-2:]
    scale = LONGEST / max(height, width)
    if scale >= 1:
        return image
    return resize(image[None], (max(round(height * scale), 1), max(round(width * scale), 1)))[0]


def _readable(source: Path | bytes) -> Path | BytesIO:
    return BytesIO(source) if isinstance(source, bytes) else source


def _size(source: Path | BytesIO) -> tuple[int, int]:
    """As the file's header claims; nothing where it can't be read, which ``load_image`` then says better."""
    try:
        with opened(source, "the picture") as header:
            return header.size
    except InputError:
        return (0, 0)
