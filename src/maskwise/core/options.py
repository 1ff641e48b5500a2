"""Checks of options: one clear line for a value that makes no sense."""

from __future__ import annotations

import math
from collections.abc import Collection

from maskwise.core.errors import InputError

BY_NETWORK = "auto"  # for a method's name: the first that the network allows


def one_of(name: str, value: object, choices: Collection[object]) -> None:
    """Raises InputError unless ``value`` is one of ``choices``.

    Example:
        >>> one_of("border", "edge", ("edge", "zero"))
    """
    if value not in choices:
        raise InputError(f"{name} is {' or '.join(map(str, choices))}, not {value!r}")


def in_range(name: str, value: object, least: float, most: float = math.inf, *, above: bool = False) -> None:
    """Raises InputError unless ``value`` is a finite number from ``least`` to ``most``.

    Args:
        above: ``least`` itself is not allowed.

    Example:
        >>> in_range("sigma", 2.5, 0, above=True)
    """
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    number = float(value) if is_number else math.nan  # type: ignore[arg-type]
    if math.isfinite(number) and (number > least if above else number >= least) and number <= most:
        return
    if most == math.inf:
        wanted = f"a number {'above' if above else 'of at least'} {least:g}"
    else:
        wanted = f"a number {'above' if above else 'from'} {least:g} {'and at most' if above else 'to'} {most:g}"
    raise InputError(f"{name} must be {wanted}, not {value!r}")


def ranges(**rules: tuple[object, float, float]) -> None:
    """``in_range`` of several options, each as ``name=(value, least, most)``.

    Example:
        >>> ranges(iterations=(300, 1, math.inf), smooth=(0.5, 0, 1))
    """
    for name, (value, least, most) in rules.items():
        in_range(name, value, least, most)
