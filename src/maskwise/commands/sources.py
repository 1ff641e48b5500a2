"""Pictures and files that are not there, or are no such thing, are refused before anything heavy is imported."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar, cast

from maskwise.commands.completion import registered
from maskwise.commands.given_files import check_files
from maskwise.core.errors import InputError
from maskwise.core.files import is_file, why_no_folder
from maskwise.core.walk import is_root, none_below
from maskwise.formats import ALL_FILES, HEIC_SUFFIXES, NO_DATA, NO_IMAGES, NO_PICTURES, PICTURE_SUFFIXES

F = TypeVar("F", bound=Callable[..., Any])
DATA = ("data", "train_data", "test_data", "mask_data", "held_out")
SUFFIXES = PICTURE_SUFFIXES + HEIC_SUFFIXES
SHARDS = ("index.json", "packing.json")  # in a folder of shards, which the reader knows more of
NOT_A_LAYOUT = ("folder", "shapes", "shards", "twins", "zip")  # names that no folder of pictures must follow


def sources_first(function: F) -> F:
    """The command, which first looks whether the paths that it is given as data, pictures or files are such."""

    @wraps(function)
    def checked(*args: Any, **given: Any) -> Any:
        for option in DATA:
            value = given.get(option)
            for source in [value] if isinstance(value, str) else value or ():
                check_data(source)
        _check_pictures(given.get("pictures") or ())
        check_files(given)
        return function(*args, **given)

    return cast(F, checked)


def _check_pictures(pictures: Sequence[str | Path]) -> None:
    """Those of ``explain`` are paths, which it looks at itself; as texts they are data or picture files.

    Raises:
        InputError: a text is neither, or all are files and none of them is a picture.
    """
    texts = [text for text in pictures if isinstance(text, str)]
    files = [text for text in texts if text.lower().endswith(SUFFIXES) and is_file(text)]
    for text in texts:
        if text not in files:
            check_data(text)
    if len(files) < len(texts):
        return
    from maskwise.picture_headers import check_header

    for number, file in enumerate(files, 1):
        try:
            check_header(file)
            return
        except InputError:
            if number == len(files):
                raise


def check_data(source: str) -> None:
    """Raises InputError for a path that certainly holds no data, in the reader's words.

    Addresses, patterns, drawn data and whatever a name of the user's own stands for are left to the reader.
    """
    name, colon, rest = source.partition(":")
    named = bool(colon) and len(name) > 1  # one letter before a colon is a drive
    path = rest if named else source
    if name == "twins" and rest:
        check_data(rest)
        return
    if name == "pipe" or path.startswith("//") or any(sign in path for sign in ":{*"):
        return
    try:
        there = next((way for way in (source, path, path.rpartition("@")[0] or path) if Path(way).exists()), None)
    except (OSError, ValueError):  # a name that is too long, or none that a system has: the reader says so
        return
    if there is None:
        if "/" in path or "." in path:  # else it may be the name of a drawn data set
            raise InputError(f"{path}: nothing is there" if named else NO_DATA.format(source))
        return
    if not named or there == source or name == "folder":
        _check_folder(there, source)
    elif name in registered("data", "datasets") and name not in NOT_A_LAYOUT:
        _check_layout(there)


def _check_folder(path: str, source: str) -> None:
    """Of a folder, a zip or a shard without a layout's name."""
    if not Path(path).is_dir():
        if not path.endswith(".tar") and not (is_file(path) and zipfile.is_zipfile(path)):
            raise InputError(NO_DATA.format(source))
        return
    images = Path(path) / "images"
    if images.is_dir():
        if none_below(images, SUFFIXES):
            raise InputError(NO_PICTURES.format(path))
        return
    try:
        names = [name.lower() for name in os.listdir(path)]  # noqa: PTH208, of a million it makes no million paths
    except OSError:
        return
    if not any(name in SHARDS or name.endswith(SUFFIXES) for name in names):
        raise InputError(NO_IMAGES.format(path))


def _check_layout(path: str) -> None:
    """Of the official layouts, all of which have pictures somewhere in a folder."""
    if not Path(path).is_dir():
        raise InputError(f"{path}: {why_no_folder(path)}")
    if is_root(path):
        raise InputError(ALL_FILES.format(path))
    if none_below(path, SUFFIXES):
        raise InputError(NO_PICTURES.format(path))
