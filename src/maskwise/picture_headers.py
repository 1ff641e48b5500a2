"""Picture files before any pixel is read: found in folders, and told from what is no picture, without PyTorch."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from io import BytesIO
from pathlib import Path
from threading import RLock
from typing import Any

from PIL import Image, UnidentifiedImageError

from maskwise.core.errors import InputError
from maskwise.core.files import is_file
from maskwise.core.quiet import Quiet
from maskwise.core.walk import files_below, is_root
from maskwise.formats import ALL_FILES, HEAD, HEIC_SUFFIXES, PICTURE_SUFFIXES, is_url, readable_formats, what_it_is

MAX_PIXELS = 61_000_000  # of 16 bytes while they are read: a gigabyte, and a small file may be a bomb
MAX_SIDE = 65_535  # pixels, as a JPEG can have: a line of millions costs gigabytes when it is brought to a square
COPIED = ("WEBP",)  # whose reader keeps three copies of the picture: two thirds of that size take the same memory
MOST_PLAIN = 1_000_000  # numbers of a PPM that Pillow reads one by one
_PILLOW_QUIET = Quiet("PIL")  # it warns of damage that it raises, too, and of bombs that are refused here


def check_is_file(path: str | Path, name: str | None = None) -> None:
    """Raises InputError for what is missing, a folder or an empty file; ``name`` is what the error calls it."""
    name = name or str(path)
    if os.path.isdir(path):  # noqa: PTH112, Path's own raises at a name that is too long
        raise InputError(f"{name}: is a folder; name the pictures in it")
    if not is_file(path):
        raise _not_there(name)
    if Path(path).stat().st_size == 0:
        raise InputError(f"{name}: the file is empty (0 bytes)")


def check_header(path: str | Path) -> None:
    """Raises InputError for a file whose first bytes are of no picture that is read, or of one that is too large."""
    check_is_file(path)
    with opened(path, str(path)):
        pass


def _not_there(name: str) -> InputError:
    if is_url(name):
        return InputError(f"{name}: is a URL, and pictures are read from files; download it first")
    return InputError(f"{name}: no such file")


@contextmanager
def opened(source: str | Path | BytesIO, name: str, what: str = "picture") -> Iterator[Image.Image]:
    """A picture of which only the header has been read.

    Args:
        name: what an error calls it.
        what: it should be; what goes wrong within the block is said of that.

    Raises:
        InputError: not one of the ``readable_formats``, more than ``MAX_PIXELS`` or ``MAX_SIDE``, or damaged.
    """
    try:
        with _PILLOW_QUIET.here(), Image.open(source, formats=readable_formats()) as picture:
            if max(picture.size) > MAX_SIDE:
                raise InputError(
                    f"{name}: {picture.width}x{picture.height} pixels, and no side may pass {MAX_SIDE:,}; "
                    "shrink or cut it"
                )
            most = MAX_PIXELS * 2 // 3 if picture.format in COPIED else MAX_PIXELS
            if picture.width * picture.height > most:
                raise InputError(f"{name}: {picture.width}x{picture.height} pixels are more than {most:,}; shrink it")
            if picture.format == "PPM":
                _check_plain(picture, name)
            if picture.format == "TIFF":
                # Pillow 12.3 maps one of raw pixels into memory by its upright size, and reads those on their side
                # askew; a picture that has no file is not mapped.
                picture.filename = ""
            with _silent() if picture.format == "TIFF" else nullcontext():
                yield picture
    except InputError:
        raise
    except UnidentifiedImageError:
        is_it = what_it_is(_head(source))
        why = "" if is_it is None else f"; it is {is_it}"
        raise InputError(f"{name}: not a {what} in a format that is known (JPEG, PNG, WebP, TIFF, …){why}") from None
    except Image.DecompressionBombError:
        raise InputError(f"{name}: has more than {MAX_PIXELS:,} pixels; shrink it") from None
    except Exception as error:  # damaged files make Pillow's readers raise nearly every kind
        raise InputError(f"{name}: the {what} is damaged ({' '.join(str(error).split())[:100]})") from None


def _check_plain(picture: Any, name: str) -> None:
    """Numbers of a PPM that are text, or whose white is neither 255 nor 65535, are read by Python, one by one.

    Raises:
        InputError: they are too many, or there is much beside them.
    """
    if not picture.tile or picture.tile[0][0] not in ("ppm_plain", "ppm"):
        return
    file = picture.fp
    place, end = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(place)
    numbers = picture.width * picture.height * len(picture.getbands())
    if numbers > MOST_PLAIN or end > 16 * MOST_PLAIN:
        raise InputError(f"{name}: more than {MOST_PLAIN:,} numbers as plain text or of an odd range; save it as PNG")


def _head(source: str | Path | BytesIO) -> bytes:
    if isinstance(source, BytesIO):
        return source.getvalue()[:HEAD]
    try:
        with open(source, "rb") as file:
            return file.read(HEAD)
    except OSError:
        return b""


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


def find_pictures(paths: Sequence[str | Path], out: Path | None = None) -> list[Path]:
    """Files as they are, and folders as the pictures below them (see ``files_below``), sorted.

    Args:
        paths: of files and folders.
        out: where results are written to: what lies there is no picture to be explained.

    Raises:
        InputError: nothing given, the folder of all files, or one that holds no picture, or a link to one elsewhere.
    """
    found: list[Path] = []
    for path in map(Path, paths):
        if is_root(path):
            raise InputError(ALL_FILES.format(path))
        if path.is_dir():
            # HEIC is found, too, and refused when it is read, so that no picture is left out without a word.
            inside = files_below(path, PICTURE_SUFFIXES + HEIC_SUFFIXES, partial(_stays_inside, path), out)
            if not inside:
                raise InputError(f"{path}: the folder holds no pictures ({', '.join(PICTURE_SUFFIXES)})")
            found += sorted(path / name for name in inside)
        else:
            found.append(path)
    if not found:
        raise InputError("no pictures were given")
    return found


def _stays_inside(folder: Path, name: str) -> None:
    link = folder / name
    if not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(folder)):
        raise InputError(f"{link}: is a link out of the folder; name the file itself if you trust it")
