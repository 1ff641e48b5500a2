"""Recipes by name or file: one YAML file holds every setting of a training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from maskwise.core.errors import InputError
from maskwise.core.plain_yaml import read_yaml
from maskwise.core.recipe_files import packaged_recipes, recipe_settings
from maskwise.training.base_recipe import BaseRecipe
from maskwise.training.trainer import trainers


def names() -> list[str]:
    """The packaged recipes; those of a folder as folder/name."""
    return packaged_recipes()


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> Any:
    """A packaged recipe by name, or a YAML file, with ``key=value`` overrides; ``a.b=value`` reaches into a mapping.

    A file may begin with ``base: NAME``: it then says only what differs from that packaged recipe. Where ``epochs`` are
    overridden and ``steps`` are not, the recipe's own steps are left out, since they would decide alone.

    Returns:
        A ``BaseRecipe`` of the recipe's kind.

    Raises:
        InputError: no such recipe, broken YAML, unknown kind or key, or a value out of range.
    """
    settings = recipe_settings(recipe)
    given = {override.partition("=")[0].strip() for override in overrides}
    if "epochs" in given and "steps" not in given and "steps" in settings and _may_lack_steps(settings):
        del settings["steps"]  # the recipe's own number would decide alone, and the caller's epochs say nothing
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"`overrides` are key=value, not {override!r}")
        _put(settings, key.strip().split("."), read_yaml(value, override), override)
    return parse(settings, str(recipe))


def _may_lack_steps(settings: dict[str, Any]) -> bool:
    """Is a training of this kind as long as its epochs where no steps are named?"""
    kind = str(settings.get("kind", "mask"))
    return kind in trainers and trainers.get(kind).Recipe.model_fields["steps"].default is None


def parse(settings: dict[str, Any], name: str) -> Any:

    try:
        return trainers.get(str(settings.get("kind", "mask"))).Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"recipe {name}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


def dump(recipe: BaseRecipe) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _put(settings: dict[str, Any], path: Sequence[str], value: Any, override: str) -> None:
    *parents, last = path
    for key in parents:
        inner = settings.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"`overrides={override}`: {key} is a value, not a mapping with keys of its own")
        settings[key] = settings = dict(inner)
    settings[last] = value
