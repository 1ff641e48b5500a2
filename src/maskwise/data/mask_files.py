"""Masks beside pictures: a file of the picture's name in a folder of its own."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import PurePosixPath

from maskwise.core.errors import InputError
from maskwise.core.text import few, how_many
from maskwise.data.store import Folder
from maskwise.data.unmatched import by_picture, say_unmatched

EXACT = (".png", ".tif", ".tiff", ".bmp", ".gif")
LOSSY = (".jpg", ".jpeg", ".webp", ".avif")  # their background need not be 0 any more


def mask_files(store: Folder, folder: str, pictures: Sequence[str]) -> dict[str, str]:
    """Each mask's file, by the picture's name without suffix; what can't be used is said in one line.

    Args:
        folder: that holds the masks.
        pictures: names, below their folder.

    Raises:
        InputError: a picture has two masks.

    Example:
        >>> from pathlib import Path
        >>> mask_files(Folder(Path("nowhere")), "masks", ["a.jpg"])
        {}
    """
    stems: dict[str, str] = {}
    shared: dict[str, str] = {}  # of a stem, two pictures
    for name in pictures:
        if (other := stems.setdefault(_stem(name), name)) != name:
            shared[_stem(name)] = f"{other} and {name}"
    found: dict[str, str] = {}
    lossy: list[str] = []
    for name in store.walk(folder, EXACT + LOSSY):
        if name.lower().endswith(LOSSY):
            lossy.append(name)
            continue
        other = found.setdefault(_stem(name), f"{folder}/{name}")
        if other != f"{folder}/{name}":
            raise InputError(f"{store.title(other)} and {name}: are two masks of one picture; keep one")
    found = by_picture(found, stems)
    say_unmatched(found, stems, store.title(folder))
    if both := [shared[stem] for stem in found if stem in shared]:
        warnings.warn(
            f"{store.title(folder)}: {how_many(len(both), 'mask')} taken for two pictures of one name ({few(both)}); "
            "leave one of them, or give one another name",
            stacklevel=2,
        )
    unused = [name for name in lossy if _stem(name) not in found]
    if unused:
        warnings.warn(
            f"{how_many(len(unused), 'mask')} in {store.title(folder)} not read ({few(unused)}): such a format changes "
            "values, and what is not 0 is foreground; make them anew as PNG",
            stacklevel=2,
        )
    return found


def _stem(name: str) -> str:
    return PurePosixPath(name).with_suffix("").as_posix()
