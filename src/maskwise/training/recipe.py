"""Recipes: every setting of a training, by name, in one YAML file."""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from maskwise.errors import InputError
from maskwise.plain_yaml import read_yaml


class Schedule(BaseModel):
    """What every training has: on which pictures, for how long, how fast. Each kind of training adds its own."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    kind: str = Field("mask", description="what is trained: a class-agnostic masker unless it says otherwise")
    title: str = "CASM"
    paper: str = "Zolna, Geras, Cho 2020"
    row: str | None = Field(None, description="of which published table this is which row")
    classifier: str = "efficientnet_lite0"
    seed: int = 0

    # how long and on what
    epochs: int = Field(70, ge=1, description="passes over `fraction` of the pictures; 70 in the paper, 60 in [C]")
    steps: int | None = Field(None, ge=1, description="so many steps in all, whatever the number of pictures")
    fraction: float = Field(0.2, gt=0, le=1, description="part of the pictures that one epoch sees")
    batch_size: int = Field(128, ge=2)
    input_size: int | None = Field(None, ge=32, description="pixels; None is the classifier's own")
    crop_area: tuple[float, float] = Field((0.08, 1.0), description="random resized crop, part of the picture's area")
    classes: int | tuple[int, ...] | None = Field(
        None, description="train on so many classes, drawn by the seed, or on these; the others stay unseen"
    )
    per_class: int | None = Field(None, ge=1, description="train on at most so many pictures of each class")

    # the optimisers
    weight_decay: float = Field(1e-4, ge=0)
    clip: float = Field(10.0, gt=0, description="gradient norm of the masker")
    lr_decay: Literal["none", "step", "cosine"] = "none"
    lr_step_epochs: int = Field(20, ge=1, description="with lr_decay=step: times 0.1 every so many epochs [C]")

    @field_validator("classes")
    @classmethod
    def _some_classes(cls, classes: int | tuple[int, ...] | None) -> int | tuple[int, ...] | None:
        if classes is not None and (classes < 1 if isinstance(classes, int) else not classes):
            raise ValueError("at least one class is needed")
        return classes

    def total_steps(self, steps_per_epoch: int) -> int:
        return self.steps or self.epochs * steps_per_epoch

    def learning_rate_factor(self, step: int, steps_per_epoch: int) -> float:
        """What the learning rates are multiplied by at ``step``, counted from 0."""
        if self.lr_decay == "step":
            return 0.1 ** (step // steps_per_epoch // self.lr_step_epochs)
        if self.lr_decay == "cosine":
            return 0.5 * (1 + math.cos(math.pi * step / self.total_steps(steps_per_epoch)))
        return 1.0


def names() -> list[str]:
    """The packaged recipes; those of a folder as folder/name."""
    root = Path(str(resources.files("maskwise") / "recipes"))
    return sorted(path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("*.yaml"))


def load(recipe: str | Path, overrides: Sequence[str] = ()) -> Any:
    """A packaged recipe by name, or a YAML file, with ``key=value`` overrides; ``a.b=value`` reaches into a mapping.

    A file may begin with ``base: NAME``: it then says only what differs from that packaged recipe.

    Returns:
        A ``Schedule`` of the recipe's kind.

    Raises:
        InputError: no such recipe, broken YAML, unknown kind or key, or a value out of range.
    """
    settings = _settings(recipe)
    for override in overrides:
        key, equals, value = override.partition("=")
        if not equals:
            raise InputError(f"--set takes key=value, not {override!r}")
        _put(settings, key.strip().split("."), read_yaml(value, override), override)
    return parse(settings, str(recipe))


def _settings(recipe: str | Path) -> dict[str, Any]:
    if str(recipe) in names():
        text = (resources.files("maskwise") / "recipes" / f"{recipe}.yaml").read_text(encoding="utf-8")
    elif os.path.isfile(recipe):  # noqa: PTH113, Path's own raises at a name that is too long
        try:
            text = Path(recipe).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"recipe {recipe}: can't be read as text ({error})") from None
    else:
        raise InputError(
            f"no recipe {str(recipe)!r}: name a .yaml file, or one that `maskwise recipes` lists, "
            f"such as {' or '.join(difflib.get_close_matches(str(recipe), names(), 3) or ['casm'])}"
        )
    own = _mapping(text, str(recipe))
    base = own.pop("base", None)
    if base is not None and str(base) not in names():  # packaged ones have no circles
        raise InputError(f"recipe {recipe}: base {base!r} is not a packaged recipe")
    return {**(_settings(str(base)) if base is not None else {}), **own}


def parse(settings: dict[str, Any], name: str) -> Any:
    from maskwise.training.trainer import trainers  # the kinds know their recipes, which are made from this file

    try:
        return trainers.get(str(settings.get("kind", "mask"))).Recipe.model_validate(settings)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(f"recipe {name}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None


def dump(recipe: Schedule) -> str:
    return yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False)


def _put(settings: dict[str, Any], path: Sequence[str], value: Any, override: str) -> None:
    *parents, last = path
    for key in parents:
        inner = settings.setdefault(key, {})
        if not isinstance(inner, dict):
            raise InputError(f"--set {override}: {key} is a value, not a mapping with keys of its own")
        settings[key] = settings = dict(inner)
    settings[last] = value


def _mapping(text: str, name: str) -> dict[str, Any]:
    settings = read_yaml(text, name)
    if not isinstance(settings, dict):
        raise InputError(f"recipe {name}: expected lines of `key: value`")
    return settings
