"""Names in a table, or of masks, and the pictures they mean. Those that fit none are counted and named, since each is
truth that nobody would miss."""

from __future__ import annotations

import difflib
import unicodedata
import warnings
from collections.abc import Collection, Iterable, Mapping
from pathlib import PurePosixPath
from typing import TypeVar

from maskwise.core.errors import InputError

NAMED = 3  # of the names, in one line
COMPARED = 20_000  # pictures that a wrong name is compared with letter by letter; more would take seconds
T = TypeVar("T")


def by_picture(table: Mapping[str, T], pictures: Collection[str]) -> dict[str, T]:
    """A table under the names that the pictures have, where the two write accents in other ways.

    A letter with an accent is one sign or two (Unicode's NFC and NFD): macOS names files with two, and spreadsheets
    write one.

    Args:
        table: by name, as it is written there.
        pictures: their names.

    Example:
        >>> one_sign, two_signs = "caf\\N{LATIN SMALL LETTER E WITH ACUTE}.png", "cafe\\N{COMBINING ACUTE ACCENT}.png"
        >>> by_picture({one_sign: 1, "b.png": 2}, [two_signs]) == {two_signs: 1, "b.png": 2}
        True
    """
    there = set(pictures)
    if table.keys() <= there:
        return dict(table)
    called = {unicodedata.normalize("NFC", name): name for name in there if not name.isascii()}
    names = (name if name in there else called.get(unicodedata.normalize("NFC", name), name) for name in table)
    return {written if name in table else name: table[written] for written, name in zip(table, names, strict=True)}


def say_unmatched(names: Iterable[str], pictures: Collection[str], table: str, where: str | None = None) -> None:
    """Warns in one line of names that are none of the pictures'.

    Args:
        names: in the table's order.
        pictures: names of those that there are.
        table: what holds the names, as a message calls it.
        where: the names begin; where it is given none that fits is an error.

    Raises:
        InputError: not one name fits, though there are pictures.
    """
    listed = list(dict.fromkeys(names))
    there = set(pictures)
    wrong = [name for name in listed if name not in there]
    if not wrong or not there:
        return
    meant = _Meant(there)
    if where is not None and len(wrong) == len(listed):
        raise InputError(
            f"{table}: names {wrong[0]!r}{meant.hint(wrong[0])} but no picture of {where}; paths begin there"
        )
    shown = ", ".join(f"{name}{meant.hint(name)}" for name in wrong[:NAMED])
    more = f", and {len(wrong) - NAMED} more" if len(wrong) > NAMED else ""
    fit = "fits" if len(wrong) == 1 else "fit"
    warnings.warn(f"{len(wrong)} of {len(listed)} names in {table} {fit} no picture: {shown}{more}", stacklevel=2)


class _Meant:
    """Which picture a name may mean: one of the same name but for its folder, case or suffix, else one alike."""

    def __init__(self, pictures: set[str]) -> None:
        self.pictures = sorted(pictures)
        self.by_stem: dict[str, str] = {}
        for name in self.pictures:
            self.by_stem.setdefault(_stem(name), name)

    def hint(self, name: str) -> str:
        if name.isdecimal():  # of numbers none is meant more than another
            return ""
        found = self.by_stem.get(_stem(name))
        if found is None and len(self.pictures) <= COMPARED:
            found = next(iter(difflib.get_close_matches(name[:200], self.pictures, 1, 0.75)), None)
        return "" if found is None else f" (did you mean {found}?)"


def _stem(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/").casefold()).stem
