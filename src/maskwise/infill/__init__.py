"""What fills the hole of a masked picture: one file an infiller, one registry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from maskwise.core.errors import InputError
from maskwise.core.plain_yaml import read_setting
from maskwise.core.registry import discover
from maskwise.infill.base import Infiller, infillers

discover(__name__, __path__)

__all__ = ["Infiller", "infiller", "infillers"]


def infiller(name: str | Mapping[str, Any], **options: Any) -> Infiller:
    """A ready infiller by name and options.

    Args:
        name: as ``infillers.names()`` lists it; with options in the text, ``blur:sigma=10`` or
            ``dfnet:weights=FILE``; or a mapping with ``name`` and options, as recipes hold it.
        options: the infiller's own keywords.

    Raises:
        InputError: unknown name or option, weights of a network that are not given or do not fit.

    Example:
        >>> infiller("blur:sigma=10")
        Blur(sigma=10, reach=None)
        >>> infiller({"name": "blur", "sigma": 10}) == infiller("blur", sigma=10)
        True
    """
    given = {**(name if isinstance(name, Mapping) else _parsed(name)), **options}
    made: Infiller = infillers.build(str(given.pop("name", None)), **given)
    made.load()
    return made


def _parsed(text: str) -> dict[str, Any]:
    name, _, rest = text.partition(":")
    given: dict[str, Any] = {"name": name}
    for option in filter(None, rest.split(",")):
        key, equals, value = option.partition("=")
        if not equals:
            raise InputError(f"infiller {text!r}: options are key=value, separated by commas")
        given[key.strip()] = read_setting(value, f"infiller {text!r}")
    return given
