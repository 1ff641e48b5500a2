"""Which map file is which picture's: by the picture's path, or by its last parts where these are one picture's only."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Matched:
    """What became of the names of map files.

    Attributes:
        files: a picture's id to the name of its map.
        twice: pictures with several maps, each with their names.
        unclear: names that several pictures could be meant by.
        superfluous: names that fit no picture.
    """

    files: Mapping[str, str]
    twice: Mapping[str, list[str]]
    unclear: list[str]
    superfluous: list[str]


def match_names(names: Iterable[str], ids: Iterable[str]) -> Matched:
    """The map of each picture.

    A map is called as its picture: ``n01/dog.npy`` or ``n01/dog.jpg.npy`` is of ``n01/dog.jpg``. Folders at the
    beginning may be left out where what is left is said of one picture only: ``dog.npy`` is, too, if there is no other
    dog.

    Args:
        names: of map files, relative to their folder, parted by ``/``.
        ids: of pictures.

    Example:
        >>> found = match_names(["dog.npy", "x.npy"], ["train/n01/dog.jpg", "train/n02/cat.jpg"])
        >>> found.files, found.superfluous
        ({'train/n01/dog.jpg': 'dog.npy'}, ['x.npy'])
    """
    whole, tails = dict[str, set[str]](), dict[str, set[str]]()
    for one in ids:
        for spelling in {_plain(one), _plain(str(PurePosixPath(one).with_suffix("")) if one else one)}:
            whole.setdefault(spelling, set()).add(one)
            parts = spelling.split("/")
            for first in range(1, len(parts)):
                tails.setdefault("/".join(parts[first:]), set()).add(one)
    found: dict[str, list[str]] = {}
    unclear, superfluous = list[str](), list[str]()
    for name in names:
        key = _plain(name.rpartition(".")[0])
        meant = whole.get(key) or tails.get(key) or set()
        if len(meant) == 1:
            found.setdefault(next(iter(meant)), []).append(name)
        else:
            (unclear if meant else superfluous).append(name)
    twice = {one: files for one, files in found.items() if len(files) > 1}
    return Matched({one: files[0] for one, files in found.items()}, twice, unclear, superfluous)


def _plain(name: str) -> str:
    """Accents as one sign, however the system writes them in names of files."""
    return unicodedata.normalize("NFC", name)
