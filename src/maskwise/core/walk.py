"""Files below a folder: the one walk of pictures that are explained, of data sets, and of their masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from maskwise.core.errors import InputError

MOST_LINKS = 4  # one within another
LOOKED_AT = 20_000  # names, by who wants no more than a first picture
# Thumbnails and metadata that systems keep beside pictures, besides all whose name begins with a dot.
SYSTEM_FOLDERS = frozenset({"@eadir", "__macosx", "$recycle.bin", "system volume information"})
# What commands write: a folder with all files of one of these sets holds results, and no pictures of anybody's.
RESULTS = (
    frozenset({"map.npy", "result.json"}),
    frozenset({"findings.json"}),
    frozenset({"log.jsonl", "recipe.yaml"}),
    frozenset({"leaderboard.json", "rows.db"}),
    frozenset({"panel.json", "panel.png"}),
)


def holds_results(names: set[str]) -> bool:
    """Are these the names of what a command wrote into one folder?"""
    return any(marks <= names for marks in RESULTS)


def files_below(
    root: str | Path,
    suffixes: tuple[str, ...],
    check_link: Callable[[str], object],
    passed_over: Path | None = None,
    *,
    deep: bool = True,
) -> list[str]:
    """Names of all files with one of these suffixes, relative to ``root``, parted by ``/``, sorted.

    Passed over are names that begin with a dot, what systems keep in folders of their own, and folders that hold
    results of ours; ``root`` itself is read whatever it holds. A folder that can't be listed counts as empty.

    Args:
        suffixes: in lower case; files may have them in any case.
        check_link: called with the name of each link, before it is followed; raises where it leads must not be read.
        passed_over: another folder that is not looked into, such as the one that results are written to.
        deep: look into the folders there, and into those in them.

    Raises:
        InputError: links lead in a circle, or what ``check_link`` raises.
    """
    skipped = None if passed_over is None else os.path.realpath(passed_over)
    return sorted(_walk(str(root), "", suffixes, check_link, skipped, 0, deep))


def _walk(
    root: str,
    below: str,
    suffixes: tuple[str, ...],
    check_link: Callable[[str], object],
    skipped: str | None,
    links: int,
    deep: bool,
) -> Iterator[str]:
    """``links`` counts those that led here."""
    folder = os.path.join(root, below)  # noqa: PTH118, Path would be made a million times
    if links > MOST_LINKS:
        raise InputError(f"{folder}: links lead in a circle")
    try:
        entries = list(os.scandir(folder))
    except OSError:  # not there, or not ours to see
        return
    if below and holds_results({entry.name for entry in entries}):
        return
    for entry in entries:
        name = f"{below}{entry.name}"
        if entry.name.startswith("."):
            continue
        linked = entry.is_symlink()
        if _is_folder(entry):
            if (
                not deep
                or entry.name.lower() in SYSTEM_FOLDERS
                or (skipped is not None and os.path.realpath(entry.path) == skipped)
            ):
                continue
            if linked:
                check_link(name)
            yield from _walk(root, f"{name}/", suffixes, check_link, skipped, links + linked, deep)
        elif entry.name.lower().endswith(suffixes):
            if linked:
                check_link(name)
            yield name


def is_root(path: str | Path) -> bool:
    """Is it the folder of all files, which is walked for minutes and holds pictures of everybody's?

    Example:
        >>> is_root("/"), is_root("/tmp/.."), is_root(".")
        (True, True, False)
    """
    real = os.path.realpath(path)
    return os.path.dirname(real) == real  # noqa: PTH120, Path's own raises at a name that no system has


def none_below(root: str | Path, suffixes: tuple[str, ...], most: int = LOOKED_AT) -> bool:
    """Is it certain that no file below the folder has one of these suffixes?

    It looks at ``most`` names and follows no link; where that does not tell, the answer is no. So it costs a tenth of a
    second at most, and a folder of millions of pictures passes at the first of them.
    """
    folders, seen = [str(root)], 0
    while folders:
        try:
            entries = list(os.scandir(folders.pop()))
        except OSError:
            return False
        seen += len(entries)
        for entry in entries:
            if entry.is_symlink() or entry.name.lower().endswith(suffixes):
                return False
            if _is_folder(entry):
                folders.append(entry.path)
        if seen > most:
            return False
    return True


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
