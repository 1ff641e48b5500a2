"""What stands after a data set's name: ``DIR``, ``DIR@split`` or ``DIR@split,key=value``."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from maskwise.core.errors import InputError
from maskwise.core.files import why_no_folder
from maskwise.data.dataset import DataSet
from maskwise.data.picture_files import PictureFiles
from maskwise.data.store import Folder
from maskwise.data.subjects import with_subjects
from maskwise.formats import NO_PICTURES

LABELS = ("classifier", "own")  # the options that every data set on disk has
LINKS = ("inside", "follow")


@dataclass(frozen=True)
class Place:
    """A path, a split (None is everything) and options.

    Example:
        >>> place = Place.parse("cub/@train,labels=own")
        >>> str(place.path), place.split, place.options["labels"]
        ('cub', 'train', 'own')
    """

    path: Path
    split: str | None
    options: Mapping[str, str]

    @classmethod
    def parse(cls, text: str, **choices: Sequence[str]) -> Place:
        """Reads ``text``; ``choices`` gives each option's values, the default first.

        Raises:
            InputError: no path, an unknown option or value.
        """
        path, split, options = text, None, dict[str, str]()
        choices = {"labels": LABELS, "links": LINKS, **choices}
        if not Path(text).exists() and "@" in text:  # a path may itself hold an @
            path, _, tail = text.rpartition("@")
            first, *settings = tail.split(",")
            if "=" in first:
                settings.insert(0, first)
            else:
                split = first or None
            options = parsed_settings(settings, text)
        for key, value in options.items():
            if key not in choices:
                raise InputError(f"{text}: no option {key!r}; there are {', '.join(choices)}")
            if value not in choices[key]:
                raise InputError(f"{text}: {key} is {' or '.join(choices[key])}, not {value!r}")
        if not path:
            raise InputError("the data set's folder is missing: write NAME:DIR")
        return cls(Path(path), split, {key: values[0] for key, values in choices.items()} | options)

    def folder(self, *inner: str, marker: str) -> Path:
        """The folder itself or the first ``inner`` one that holds ``marker``.

        Raises:
            InputError: there is none.
        """
        if not self.path.is_dir():
            raise InputError(f"{self.path}: {why_no_folder(self.path)}")
        for root in (self.path, *(self.path / name for name in inner)):
            if (root / marker).exists():
                return root
        raise InputError(f"{self.path}: has no {marker}; give the folder that the official archive unpacks to")

    def store(self, root: Path, *beside: str) -> Folder:
        """The files below ``root``; with links=follow also those that links out of it lead to."""
        return Folder(root, self.options["links"] == "follow", beside)

    def splits(self, there: Sequence[str]) -> list[str]:
        """The splits to be read, of those that are there.

        Raises:
            InputError: the split is not one of them.
        """
        if self.split is None:
            return list(there)
        if self.split not in there:
            known = f"its splits are {', '.join(sorted(there))}" if there else "it has no splits"
            raise InputError(f"{self.path}: holds no pictures of split {self.split!r}; {known}")
        return [self.split]

    def finish(self, data: PictureFiles) -> DataSet:
        """The data set with the labels that were asked for and its pictures' subjects; boxes that can hardly be pixels
        are said.

        Raises:
            InputError: it is empty, or its ``subjects.csv`` can't be read.
        """
        if not data.records:
            raise InputError(NO_PICTURES.format(self.path))
        _say_shares(data, self.path)
        whose = with_subjects(data, data.store, whole=self.split is None)
        return whose.with_own_labels() if self.options["labels"] == "own" else whose


def _say_shares(data: DataSet, path: Path) -> None:
    """Warns where no edge of all listed boxes passes 1: they are shares of the sides then, and hardly pixels."""
    largest = max((max(box) for record in data.records for box in record.boxes), default=2.0)
    if largest <= 1:
        warnings.warn(
            f"{path}: no box passes the first pixel of its picture, as if boxes were in shares of width and height; "
            "they are x0,y0,x1,y1 in pixels: multiply x by the picture's width and y by its height",
            stacklevel=2,
        )


def parsed_settings(parts: Sequence[str], text: str) -> dict[str, str]:
    """``key=value`` parts as a mapping.

    Raises:
        InputError: a part without =.
    """
    settings = {}
    for part in parts:
        key, equals, value = part.partition("=")
        if not equals:
            raise InputError(f"{text}: options are key=value, not {part!r}")
        settings[key.strip().lower()] = value.strip()
    return settings
