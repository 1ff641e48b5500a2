"""Class names: by index, by name, by WordNet id."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

from maskwise.core.errors import InputError

DIGITS = 18  # of an index, at most
LONGEST_NAME = 100  # characters of a class that a message repeats


@dataclass(frozen=True)
class Labels:
    """Names of a classifier's classes, in order; a name may hold synonyms parted by commas.

    Attributes:
        names, wnids: of the classes; WordNet ids where they have some.
        synonyms: are names parted by commas? Not where they are whole texts.

    Example:
        >>> Labels(("tabby, tabby cat", "dog")).resolve("tabby cat")
        0
    """

    names: tuple[str, ...]
    wnids: tuple[str, ...] | None = None
    synonyms: bool = True

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """The first synonym of class ``index``."""
        return self._known_as(index)[0].strip()

    @property
    def first_names(self) -> list[str]:
        """Of every class its first synonym."""
        return [self.name(i) for i in range(len(self))]

    def nameable(self, index: int) -> str:
        """A class by its name, or by its index where several have that name.

        Example:
            >>> [Labels(("crane", "crane", "dog")).nameable(i) for i in (0, 2)]
            ['0', 'dog']
        """
        name = self.name(index)
        try:
            return name if self.resolve(name) == index else str(index)
        except InputError:
            return str(index)

    @property
    def numbered(self) -> bool:
        """Are the names numbers, such as those of a network that names none?"""
        return all(name.isdecimal() for name in self.names)

    @property
    def are_places(self) -> bool:
        """Is each class called by its place, as those are that a network does not name?"""
        return self.names == tuple(map(str, range(len(self))))

    def of_names(self, names: Sequence[str]) -> list[int | None]:
        """For each name the index of the class that is called so; None where none is, or several are.

        A number is a class that is called by it, and else the class at that place.

        Example:
            >>> ten = Labels(("1", "2", "10"))
            >>> ten.of_names(["2", "0", "dog"]), ten.resolve("2")
            ([1, 0, None], 2)
        """
        found: list[int | None] = []
        for name in names:
            hits = self._called.get(_key(name), [])
            if self.wnids and name.casefold() in self.wnids:
                hits = [self.wnids.index(name.casefold())]
            elif not hits and name.isdecimal() and len(name) < DIGITS and int(name) < len(self):
                hits = [int(name)]
            found.append(hits[0] if len(hits) == 1 else None)
        return found

    @cached_property
    def _called(self) -> dict[str, list[int]]:
        """The classes of each name, whole or one of its synonyms, as names are compared."""
        called: dict[str, list[int]] = {}
        for i, whole in enumerate(self.names):
            for name in dict.fromkeys(map(_key, (*self._known_as(i), whole))):
                called.setdefault(name, []).append(i)
        return called

    def _known_as(self, index: int) -> list[str]:
        return self.names[index].split(",") if self.synonyms else [self.names[index]]

    def resolve(self, target: int | str) -> int:
        """The index of a class given as index, name, synonym or WordNet id.

        Raises:
            InputError: no such class; close names are offered. A name of two classes asks for the index.
        """
        text = str(target).strip()
        if re.fullmatch(r"-?[0-9]+", text):
            index = int(text[:DIGITS])  # of more digits no class has a number, and Python reads no more than 4,300
            if len(text) > DIGITS:
                raise InputError(f"class index {text[:DIGITS]}… is not in 0…{len(self) - 1}: it has {len(text)} digits")
            if not 0 <= index < len(self):
                ends = f"{self.name(0)!r} to {self.name(len(self) - 1)!r}"
                raise InputError(f"class index {index} is not in 0…{len(self) - 1} ({ends})")
            return index
        if self.wnids and text.casefold() in self.wnids:
            return self.wnids.index(text.casefold())
        wanted = _key(text)
        hits = self._called.get(wanted, [])
        if len(hits) == 1:
            return hits[0]
        if hits:
            raise InputError(f"class {text!r} is the name of {hits}: give the index")
        names = [_key(name) for i in range(len(self)) for name in self._known_as(i)]
        close = _alike(wanted[:LONGEST_NAME], names)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        shown = text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"
        raise InputError(f"unknown class {shown!r}{hint}")


def _alike(wanted: str, names: Sequence[str]) -> list[str]:
    """Three names at most: like the wanted one as a whole, or with a word that is like it.

    Example:
        >>> _alike("elefant", ["velvet", "Indian elephant", "eft", "African elephant"])
        ['Indian elephant', 'African elephant', 'velvet']
    """
    having: dict[str, list[str]] = {}
    for name in names:
        for part in (name, *name.split()):
            having.setdefault(part, []).append(name)
    found: dict[str, None] = {}
    for part in difflib.get_close_matches(wanted, having, n=3):
        # Of many names with the word those that are shortest are nearest to it.
        found |= dict.fromkeys(sorted(having[part], key=len))
    return list(found)[:3]


def _key(name: str) -> str:
    """What names are compared by: without case, underscores and double spaces."""
    return " ".join(name.replace("_", " ").casefold().split())


@cache
def imagenet_labels() -> Labels:
    """The 1,000 classes of ImageNet-1k in the usual order, from timm's own tables."""
    from timm.data import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    wnids = tuple(info.label_names())
    return Labels(tuple(info.label_name_to_description(w, detailed=False) for w in wnids), wnids)


def unknown_label(picture: str, label: int, classifier: str, known: int) -> InputError:
    """The error of a picture whose label is none of the classes that a classifier knows.

    Args:
        picture: its name.
        classifier: its name.
        known: the number of its classes.
    """
    return InputError(
        f"{picture}: has label {label}, and {classifier} knows {known} classes, which are numbered from 0; take the "
        "classifier that these labels are of, or pictures that are labelled with its classes"
    )
