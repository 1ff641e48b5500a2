"""Folders of maps and data sets brought together: each picture's map is found and read once before anything is made."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from maskwise.core.errors import InputError
from maskwise.core.spread import evenly_spread
from maskwise.core.text import first_few, how_many, utf8
from maskwise.data import DataSet
from maskwise.evaluation.contender import Contender
from maskwise.evaluation.given_maps import GivenMaps
from maskwise.evaluation.loader import Settings
from maskwise.evaluation.map_names import Matched, match_names


@dataclass(frozen=True)
class GivenData:
    """What is measured where some maps come from folders.

    Attributes:
        contenders: with the folders' files found and checked.
        sets: the data sets, with ``missing="skip"`` without the pictures that some folder has no map of.
        left_out: by data set's place, how many pictures were left out so, and whose maps they lack.
    """

    contenders: list[Contender]
    sets: list[DataSet]
    left_out: dict[int, str]


def given_data(contenders: Sequence[Contender], sets: Sequence[DataSet], settings: Settings) -> GivenData:
    """Finds the maps of the pictures that ``settings.limit`` takes, and reads each of them once.

    Pictures without a map are refused, or with ``missing="skip"`` left out for every contender, so that all are
    measured on the same pictures. Files that fit no picture are warned of.

    Raises:
        InputError: a folder, or maps in it, that can't be used; pictures without maps; nothing left.
    """
    folders = {i: c.explainer for i, c in enumerate(contenders) if isinstance(c.explainer, GivenMaps)}
    if not folders:
        return GivenData(list(contenders), list(sets), {})
    ids = [record.id for data in sets for record in data.records]
    found = {i: _matched(contenders[i].name, maps, ids) for i, maps in folders.items()}
    kept, left_out = list(sets), dict[int, str]()
    if settings.missing == "skip":
        for place, data in enumerate(sets):
            lack = {contenders[i].name for i, m in found.items() if any(r.id not in m.files for r in data.records)}
            if lack:
                kept[place] = data.filter(lambda record: all(record.id in m.files for m in found.values()))
                count = how_many(len(data) - len(kept[place]), "picture")
                left_out[place] = f"{count} left out for all methods: no map in {' or in '.join(sorted(lack))}"
        if not any(map(len, kept)):
            raise InputError(f"no picture has a map in all of {', '.join(contenders[i].name for i in folders)}")
        kept, left_out = _without_empty(kept, left_out)
    chosen = [s.records[i].id for s in kept for i in evenly_spread(len(s), settings.limit)]
    ready = list(contenders)
    for i, maps in folders.items():
        missing = [one for one in chosen if one not in found[i].files]
        if missing:
            raise InputError(
                f"{contenders[i].name}: {len(missing)} of {how_many(len(chosen), 'picture')} have no map in "
                f"{utf8(str(maps.folder))}: {first_few(missing)}; make them, or leave such pictures out for all by "
                "`missing=skip`"
            )
        files = {one: maps.folder / found[i].files[one] for one in chosen}
        ready[i] = Contender.of(contenders[i].name, maps.checked(files, square=settings.resize == "crop"))
    return GivenData(ready, kept, left_out)


def _without_empty(sets: list[DataSet], left_out: dict[int, str]) -> tuple[list[DataSet], dict[int, str]]:
    full = [place for place, data in enumerate(sets) if len(data)]
    for place in set(range(len(sets))) - set(full):
        warnings.warn(f"{sets[place].name}: {left_out[place]}, so nothing of it is measured", stacklevel=3)
    return [sets[p] for p in full], {new: left_out[old] for new, old in enumerate(full) if old in left_out}


def _matched(name: str, maps: GivenMaps, ids: Sequence[str]) -> Matched:
    """Raises InputError where it is not clear which map is whose, or no map is anybody's."""
    matched, where = match_names(maps.names, ids), utf8(str(maps.folder))
    if matched.twice:
        raise InputError(
            f"{name}: {how_many(len(matched.twice), 'picture')} with several maps in {where}: "
            f"{first_few([' and '.join(files) for files in matched.twice.values()])}; keep one of each"
        )
    if matched.unclear:
        raise InputError(
            f"{name}: {how_many(len(matched.unclear), 'map')} in {where} could be of several pictures: "
            f"{first_few(matched.unclear)}; lay them in folders as the pictures lie"
        )
    if not matched.files and ids:
        path = PurePosixPath(ids[0])
        raise InputError(
            f"{name}: none of {how_many(len(maps.names), 'map')} in {where} fits a picture: {first_few(maps.names)}; a "
            f"map of {utf8(ids[0])} is called {utf8(path.stem)}.npy"
        )
    if matched.superfluous:
        fit = "fits" if len(matched.superfluous) == 1 else "fit"
        warnings.warn(
            f"{name}: {len(matched.superfluous)} of {how_many(len(maps.names), 'map')} in {where} {fit} no picture: "
            f"{first_few(matched.superfluous)}",
            stacklevel=4,
        )
    return matched
