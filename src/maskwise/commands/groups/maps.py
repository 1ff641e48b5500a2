"""Folders of maps that somebody else made, beside the methods of a command."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwise.core.errors import InputError

if TYPE_CHECKING:
    from maskwise.evaluation.given_maps import GivenMaps

GIVEN = "Maps from files"
MapFolders = Annotated[
    list[str] | None,
    typer.Option(
        "--maps",
        help="NAME=DIR: maps that anybody made, .npy, .npz or grey .png, called as their pictures; may be given again.",
        rich_help_panel=GIVEN,
    ),
]
Missing = Annotated[
    str,
    typer.Option(
        "--missing",
        help="Pictures that a folder has no map of: refuse, or skip (left out for all methods).",
        rich_help_panel=GIVEN,
    ),
]


def named_folders(given: Sequence[str] | None) -> dict[str, Path]:
    """``NAME=DIR`` texts by name.

    Raises:
        InputError: a text is none such, or a name is given twice.

    Example:
        >>> named_folders(["theirs=maps/torchcam"])
        {'theirs': PosixPath('maps/torchcam')}
    """
    found: dict[str, Path] = {}
    for text in given or []:
        name, equals, folder = text.partition("=")
        name = name.strip()
        if not equals or not name or not folder:
            raise InputError(f"`maps` takes NAME=DIR, not {text!r}")
        if name in found:
            raise InputError(f"`maps` names {name!r} twice")
        found[name] = Path(folder).expanduser()
    return found


def given_maps(folders: Mapping[str, Path], options: Mapping[str, Mapping[str, Any]]) -> dict[str, GivenMaps]:
    """Explainers of folders by name, each with its ``--set NAME.scale=…``.

    Raises:
        InputError: an option that maps do not have, a value that it does not take, or a folder without maps.
    """
    from maskwise.evaluation.given_maps import GivenMaps

    found: dict[str, GivenMaps] = {}
    for name, folder in folders.items():
        own = dict(options.get(name, {}))
        scale = own.pop("scale", "auto")
        if own:
            raise InputError(f"--set {name}.{next(iter(own))}: maps from files have no such option; they have scale")
        found[name] = GivenMaps(folder, scale)
        found[name].names  # noqa: B018, a wrong folder is said before anything is loaded
    return found
