"""Maps that somebody else made, a file a picture, as an explainer: read, checked, brought to [0,1] and to size."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from maskwise.core.errors import InputError
from maskwise.core.min_max import min_max
from maskwise.core.options import one_of
from maskwise.core.text import first_few, how_many, utf8
from maskwise.core.walk import files_below
from maskwise.data.file_digests import file_digests
from maskwise.evaluation.map_files import StoredMap, read_map_file
from maskwise.evaluation.store import key_of
from maskwise.formats import EXPLAINED_MAPS, MAP_SUFFIXES, NO_MAPS, NOT_A_MAP_FOLDER
from maskwise.images import resize

MapScale = Literal["auto", "unit", "min_max", "relu", "abs"]
SCALES = ("auto", "unit", "min_max", "relu", "abs")
READERS = 8
ROUNDING = 1e-6
DIM = 0.1  # of the range: values that stay below were hardly meant as shares of 1
IN_WORDS = {
    "unit": "values as stored",
    "min_max": "each map stretched to [0,1] by its least and its largest value",
    "relu": "negative values set to 0, then each map stretched to [0,1]",
    "abs": "absolute values, then each map stretched to [0,1]",
}


@dataclass(frozen=True)
class MapValues:
    """What the values of a folder's maps are, all of them together.

    Attributes:
        scale: how each map comes to [0,1].
        divisors: what integers are divided by first, by the white of their kind.
        low, high: after that division.
    """

    scale: str
    divisors: Mapping[float, float]
    low: float
    high: float

    @classmethod
    def of(cls, found: Iterable[tuple[float, float, float]], scale: MapScale) -> MapValues:
        """Of (white, low, high) of each map.

        Integers are divided by their kind's largest value, unless none of the folder's passes 1: then they are a mask's
        0 and 1. ``auto`` takes the values as they are where all lie in [0,1] and some pass a tenth, and else stretches
        each map by its own minimum and maximum, as the maps of methods are.
        """
        lows, highs = dict[float, float](), dict[float, float]()
        for white, low, high in found:
            lows[white], highs[white] = min(low, lows.get(white, low)), max(high, highs.get(white, high))
        divisors = {white: 1.0 if white > 1 and highs[white] <= 1 else white for white in highs}
        low = min(lows[white] / divisors[white] for white in lows)
        high = max(highs[white] / divisors[white] for white in highs)
        within = low >= -ROUNDING and high <= 1 + ROUNDING
        chosen = scale if scale != "auto" else "unit" if within and high >= DIM else "min_max"
        if chosen == "unit" and not within:
            raise InputError(f"values go from {low:.3g} to {high:.3g}, and scale='unit' takes [0,1]: use another scale")
        return cls(chosen, divisors, low, high)

    def apply(self, stored: StoredMap) -> Tensor:
        """(H,W) in [0,1]."""
        # In float64, where the range of any float32 is finite.
        values = stored.values.double() / self.divisors.get(stored.white, stored.white)
        if self.scale == "unit":
            return values.clamp(0, 1).float()
        read = values.abs() if self.scale == "abs" else values.relu() if self.scale == "relu" else values
        return min_max(read).float()


@dataclass(frozen=True)
class GivenMaps:
    """A folder of maps: ``.npy``, ``.npz`` and grey ``.png`` files, called as the data set calls its pictures.

    A map may have any size: it is a map of what is explained, the whole picture or with ``resize="crop"`` its centre,
    and is resized to it bilinearly, with antialiasing where it shrinks.

    Attributes:
        folder: where the files lie; subfolders as the data set names its pictures, or none.
        scale: how values come to [0,1]: ``unit`` as they are; ``min_max`` stretches each map; ``relu`` sets negative
            ones to 0, ``abs`` takes absolute values, and either stretches then; ``auto`` is unit where it can be, else
            min_max.
        files: of each picture that is measured, the file; found by ``matched``.
        values: what the values of those files are; found by ``checked``.
    """

    folder: Path
    scale: MapScale = "auto"
    files: Mapping[str, Path] = field(default_factory=dict)
    values: MapValues | None = None

    def __post_init__(self) -> None:
        one_of("scale", self.scale, SCALES)

    @cached_property
    def names(self) -> list[str]:
        """All map files below the folder.

        Raises:
            InputError: no such folder, or none in it.
        """
        if not self.folder.is_dir():
            is_file = "is a file" if self.folder.exists() else "no such folder"
            raise InputError(NOT_A_MAP_FOLDER.format(self.folder, is_file))
        names = files_below(self.folder, MAP_SUFFIXES, self._inside)
        if not names:
            explained = any(self.folder.rglob("map.npy"))  # which are passed over, since all have one name
            raise InputError((EXPLAINED_MAPS if explained else NO_MAPS).format(self.folder))
        return names

    def _inside(self, name: str) -> None:
        link = self.folder / name
        if not Path(os.path.realpath(link)).is_relative_to(os.path.realpath(self.folder)):
            raise InputError(f"{link}: is a link out of the folder; copy what it leads to")

    def checked(self, files: Mapping[str, Path], square: bool = False) -> GivenMaps:
        """The same with the maps of these pictures, each of which has been read once.

        Args:
            files: by the picture's id.
            square: maps are of a picture's central square.

        Raises:
            InputError: some can't be used: one line with how many, why, and the first of them.
        """
        wrong: dict[str, list[str]] = {}
        found = []

        def tried(path: Path) -> tuple[float, float, float] | str:
            try:
                stored = read_map_file(path)
            except InputError as error:
                return str(error)
            height, width = stored.values.shape
            if square and abs(height - width) > 1:
                return "are not square, though pictures are cropped to their central square: crop the maps as well"
            return stored.white, float(stored.values.min()), float(stored.values.max())

        with ThreadPoolExecutor(min(READERS, os.cpu_count() or 1)) as pool:
            for path, result in zip(files.values(), pool.map(tried, files.values()), strict=True):
                if isinstance(result, str):
                    wrong.setdefault(result, []).append(str(path.relative_to(self.folder)))
                else:
                    found.append(result)
        if wrong:
            count = sum(map(len, wrong.values()))
            why = "; ".join(f"{len(names)} {reason} ({first_few(names)})" for reason, names in wrong.items())
            raise InputError(f"{utf8(str(self.folder))}: {count} of {how_many(len(files), 'map')} can't be used: {why}")
        return replace(self, files=files, values=MapValues.of(found, self.scale) if found else None)

    @property
    def identity(self) -> dict[str, Any]:
        """What the protocol says of them: a digest of their content among it."""
        scale = self.scale if self.values is None else self.values.scale
        digests = file_digests(self.files.values())
        content = key_of({one: digests[path] for one, path in self.files.items()})
        return {"maps": content, "files": len(self.files), "scale": scale, "resized": "bilinear, antialiased"}

    def in_words(self) -> str:
        """Where the maps come from and what became of their values."""
        values = "" if self.values is None else f"; {IN_WORDS[self.values.scale]}"
        count = how_many(len(self.files), "map")
        return f"{count} from files, of whatever class they were made for{values}; resized bilinearly"

    def doubts(self, name: str) -> list[str]:
        """What of their values may not be as it was meant, in one line each; ``name`` is the contender's."""
        if self.values is None or self.values.low >= -ROUNDING or self.values.scale != "min_max":
            return []
        return [
            f"{name}: its maps hold values from {self.values.low:.3g} to {self.values.high:.3g}, and each is stretched "
            "from its least to its largest; `scale=relu` or `scale=abs` reads negative ones otherwise"
        ]

    def __call__(self, images: Tensor, targets: Tensor | None = None, *, ids: Sequence[str]) -> Tensor:
        """Maps (N,H,W) in [0,1] of pictures (N,3,H,W) with these ids; whatever class they were made for.

        Raises:
            InputError: there is no map of a picture, or it has the width and height of the picture swapped.
        """
        size = (int(images.shape[-2]), int(images.shape[-1]))
        return torch.stack([self._map(one, size) for one in ids])

    def _map(self, one: str, size: tuple[int, int]) -> Tensor:
        if self.values is None or one not in self.files:
            raise InputError(f"{utf8(str(self.folder))}: has no map of {utf8(one)}")
        try:
            made = self.values.apply(read_map_file(self.files[one]))
        except InputError as error:
            raise InputError(f"{utf8(str(self.files[one]))}: maps {error}") from None
        height, width = made.shape
        if (width, height) == size and height != width:
            raise InputError(
                f"{utf8(str(self.files[one]))}: is {height}x{width} and its picture {size[0]}x{size[1]} (rows x "
                "columns): transpose the maps"
            )
        return resize(made[None, None], size)[0, 0]
