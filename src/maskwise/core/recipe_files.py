"""Recipes as files: which are packaged, and what one says, without all that a training needs to make sense of it."""

from __future__ import annotations

import difflib
import os
from importlib import resources
from pathlib import Path
from typing import Any

from maskwise.core.errors import InputError


def packaged_recipes() -> list[str]:
    """Names of the files in ``maskwise/recipes``; those of a folder there as folder/name."""
    root = Path(str(resources.files("maskwise") / "recipes"))
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def recipe_settings(recipe: str | Path) -> dict[str, Any]:
    """What a packaged recipe, by its name, or a YAML file says, with what its ``base`` says beside it.

    Raises:
        InputError: there is no such recipe, or its text is none.
    """
    if str(recipe) in packaged_recipes():
        text = (resources.files("maskwise") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif os.path.isfile(recipe):  # noqa: PTH113, Path's own raises at a name that is too long
        try:
            text = Path(recipe).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"recipe {recipe}: can't be read as text ({error})") from None
    else:
        raise InputError(
            f"no recipe {str(recipe)!r}: name a .yaml file, or one that `maskwise recipes` lists, "
            f"such as {' or '.join(difflib.get_close_matches(str(recipe), packaged_recipes(), 3) or ['casm'])}"
        )
    own = _mapping(text, str(recipe))
    base = own.pop("base", None)
    if base is not None and str(base) not in packaged_recipes():  # packaged ones have no circles
        raise InputError(f"recipe {recipe}: base {base!r} is not a packaged recipe")
    return {**(recipe_settings(str(base)) if base is not None else {}), **own}


def _mapping(text: str, name: str) -> dict[str, Any]:
    from maskwise.core.plain_yaml import read_yaml  # not above: completion reads this file for the names alone

    settings = read_yaml(text, name)
    if not isinstance(settings, dict):
        raise InputError(f"recipe {name}: expected lines of `key: value`")
    return settings
