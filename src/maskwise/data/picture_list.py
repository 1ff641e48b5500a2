"""Pictures that are named one by one, beside sources of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from maskwise.data.dataset import DataSet, Record
from maskwise.data.folder import PictureFolder
from maskwise.data.sources import read_data
from maskwise.data.store import Folder
from maskwise.formats import PICTURE_SUFFIXES


def read_sources(sources: str | Path | Sequence[str | Path]) -> list[DataSet]:
    """Data sets of sources (see ``read_data``); picture files among them are one set a folder, without labels.

    Raises:
        InputError: as ``read_data``.

    Example:
        >>> from maskwise.images import packaged_pictures
        >>> [len(data) for data in read_sources([*packaged_pictures(), "shapes:n=4"])]
        [4, 5]
    """
    named = [sources] if isinstance(sources, (str, Path)) else list(sources)
    loose: dict[Path, list[str]] = {}
    sets: list[DataSet] = []
    for source in named:
        path = Path(source)
        if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            loose.setdefault(path.parent, []).append(path.name)
        else:
            sets.append(read_data(source))
    for folder, names in loose.items():
        records = [Record(name) for name in dict.fromkeys(names)]
        sets.append(PictureFolder(str(folder), records, store=Folder(folder), below=""))
    return sets
