"""Files below a folder: the one walk of pictures that are explained, of data sets, and of their masks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from maskwise.core.errors import InputError

MOST_LINKS = 4  # one within another
# Thumbnails and metadata that systems keep beside pictures, besides all whose name begins with a dot.
SYSTEM_FOLDERS = frozenset({"@eadir", "__macosx", "$recycle.bin", "system volume information"})
# What commands write: a folder with all files of one of these sets holds results, and no pictures of anybody's.
RESULTS = (
    frozenset({"map.npy", "result.json"}),
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
) -> list[str]:
    """Names of all files with one of these suffixes, relative to ``root``, parted by ``/``, sorted.

    Passed over are names that begin with a dot, what systems keep in folders of their own, and folders that hold
    results of ours; ``root`` itself is read whatever it holds. A folder that can't be listed counts as empty.

    Args:
        suffixes: in lower case; files may have them in any case.
        check_link: called with the name of each link, before it is followed; raises where it leads must not be read.
        passed_over: another folder that is not looked into, such as the one that results are written to.

    Raises:
        InputError: links lead in a circle, or what ``check_link`` raises.
    """
    skipped = None if passed_over is None else os.path.realpath(passed_over)
    return sorted(_walk(str(root), "", suffixes, check_link, skipped, 0))


def _walk(
    root: str,
    below: str,
    suffixes: tuple[str, ...],
    check_link: Callable[[str], object],
    skipped: str | None,
    links: int,
) -> Iterator[str]:
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
            if entry.name.lower() in SYSTEM_FOLDERS or (
                skipped is not None and os.path.realpath(entry.path) == skipped
            ):
                continue
            if linked:
                check_link(name)
            yield from _walk(root, f"{name}/", suffixes, check_link, skipped, links + linked)
        elif entry.name.lower().endswith(suffixes):
            if linked:
                check_link(name)
            yield name


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
