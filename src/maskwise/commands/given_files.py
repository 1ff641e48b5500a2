"""Options that name a file or a folder to be read, beside data sets: what can't be such is refused at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.files import is_file, why_no_folder
from maskwise.core.recipe_files import packaged_recipes, recipe_settings
from maskwise.core.walk import is_root, none_below
from maskwise.formats import ALL_FILES, HEAD, MAP_SUFFIXES, NO_MAPS, NOT_A_MAP_FOLDER, what_it_is

TEXTS = ("difficult", "labels")
NO_TEXTS = ("apart", "compare_with", "masker", "masker_file", "old", "video", "weights")  # weights, maskers and videos
NETWORKS = (".onnx", ".pt", ".pt2", ".pth")  # files that may stand for a classifier


def check_files(given: Mapping[str, Any]) -> None:
    """Looks at the options of a command by the names of its parameters.

    Raises:
        InputError: a file is missing or a folder, one of weights or frames holds text, or a folder holds no pictures
            or no maps. What lies on a hub is left to the reader, and so are names.
    """
    for option in (*TEXTS, *NO_TEXTS):
        value = given.get(option)
        # `export` takes a name of a method in the place, too.
        if isinstance(value, Path) or (isinstance(value, str) and value.endswith(".safetensors")):
            check_file(value, option, option in TEXTS)
    recipe, classifiers = given.get("recipe"), given.get("classifier")
    if isinstance(recipe, str) and recipe not in packaged_recipes():
        recipe_settings(recipe)
    for name in [classifiers] if isinstance(classifiers, str) else classifiers or ():
        file = name.rpartition(":")[0] if ".py:" in name else name
        if file.endswith((".py", *NETWORKS)):
            check_file(file, "classifier")
    if given.get("folder") is not None:
        _check_frames(Path(given["folder"]))
    maps = given.get("maps")
    for text in [maps] if isinstance(maps, str) else maps or ():
        _check_maps(text)


def check_file(path: str | Path, option: str, text: bool = True) -> None:
    """Raises InputError for what is no file.

    Args:
        option: the parameter that named it.
        text: it may be a file of text.
    """
    if ":" in str(path).replace(":\\", ""):  # of a hub; a drive is none
        return
    said = str(path) if option == "old" else f"`{option}={path}`"  # an argument has no option to be named by
    if not is_file(path):
        raise InputError(f"{said}: {'is a folder; name the file' if _is_folder(path) else 'no such file'}")
    if text:
        return
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD)
    except OSError:  # it may not be read, which the reader says
        return
    if holds_text(head):
        what = what_it_is(head)
        raise InputError(f"{said}: is {what or 'a file of text'}")


def holds_text(head: bytes) -> bool:
    """Are these the first bytes of a text?

    Example:
        >>> holds_text("naïve".encode()), holds_text(b"PK\\x03\\x04\\0"), holds_text(b"")
        (True, False, False)
    """
    if not head or b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4 and len(head) == HEAD  # a sign that the end has cut
    return True


def _is_folder(path: str | Path) -> bool:
    try:
        return Path(path).is_dir()
    except (OSError, ValueError):  # a name that no system has
        return False


def _check_frames(folder: Path) -> None:
    if not folder.is_dir():
        raise InputError(f"{folder}: {why_no_folder(folder)}")
    from maskwise.picture_headers import find_pictures

    find_pictures([folder])


def _check_maps(text: str) -> None:
    """``DIR`` or ``NAME=DIR``; a folder may have the sign in its own name."""
    _, equals, rest = text.partition("=")
    folder = Path(text if Path(text).is_dir() or not equals else rest).expanduser()
    if not folder.is_dir():
        raise InputError(NOT_A_MAP_FOLDER.format(folder, "is a file" if is_file(folder) else "no such folder"))
    if is_root(folder):
        raise InputError(ALL_FILES.format(folder))
    if none_below(folder, MAP_SUFFIXES):
        raise InputError(NO_MAPS.format(folder))
