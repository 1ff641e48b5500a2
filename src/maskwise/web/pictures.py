"""What a visitor sends: checked, decoded and shrunk."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePath

from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.text import printable, shortened, utf8
from maskwise.images import load_shrunk, to_bytes
from maskwise.report.page_cards import Stored

MAX_BYTES = 30_000_000  # a JPEG of 48 million pixels from a telephone has up to 25
LONGEST = 1024  # pixels of a side: more would only cost time
NAME = 80  # signs of a file's name that are shown
_ONE_AT_A_TIME = threading.Lock()  # a PNG of 61 million pixels takes a gigabyte while it is read


@dataclass(frozen=True, eq=False)
class Picture:
    """A visitor's picture.

    Attributes:
        name: of its file.
        image: (3,H,W) uint8, no side above ``LONGEST``; or float32 in [0,1] of a file of more than 8 bits, whose map
            is then as that of its file.
        stored: its size in the file; boxes are told in those pixels.
        offered: the likeliest classes, which the page offers.
    """

    name: str
    image: Tensor
    stored: Stored
    offered: tuple[str, ...] = ()

    @property
    def unit(self) -> Tensor:
        """(3,H,W) in [0,1]."""
        return self.image if self.image.is_floating_point() else self.image / 255

    def box(self, edges: list[float] | tuple[float, ...]) -> list[int]:
        """A box on ``image``, (x0,y0,x1,y1), in the file's pixels."""
        height, width = self.image.shape[-2:]
        return self.stored.box(edges, width, height)


def open_picture(source: Path | bytes, name: str = "") -> Picture:
    """A picture, shrunk to at most ``LONGEST`` pixels a side.

    Args:
        source: a file, or what is in it.
        name: of the file, where only its content is given.

    Raises:
        InputError: too large, not a picture, or damaged.
    """
    called = shown_name(source.name if isinstance(source, Path) else name)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size if source.is_file() else 0
    if size > MAX_BYTES:
        raise InputError(too_many_bytes())
    if not size and isinstance(source, bytes):
        raise InputError(f"{called}: the file is empty (0 bytes)")
    with _ONE_AT_A_TIME:
        given = BytesIO(source) if isinstance(source, bytes) else source
        image, (width, height), deep = load_shrunk(given, LONGEST, called)
    return Picture(called, image if deep else to_bytes(image), Stored(width, height))


def too_many_bytes() -> str:
    """What is said of a file beyond ``MAX_BYTES``, wherever that is noticed."""
    return f"the file has more than {MAX_BYTES // 1_000_000} MB; shrink the picture"


def shown_name(name: str) -> str:
    """A file's name as it is shown: without folders and control characters, and not too long."""
    last = PurePath(name.replace("\\", "/")).name
    return shortened(printable(utf8(last)), NAME) or "the picture"
