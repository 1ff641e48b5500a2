"""YAML as settings need it: plain values in a small tree, and one kind of error."""

from __future__ import annotations

from typing import Any

import yaml

from maskwise.core.errors import InputError
from maskwise.core.option_types import AsWritten

DEEPEST = 20
LONGEST = 100_000  # characters, a second of reading; the longest packaged recipe has 2,000


class _Loader(yaml.SafeLoader):
    """Without aliases, forty lines of which stand for 2^40 values."""

    depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not read: write the value out")
        if self.depth == DEEPEST:
            raise yaml.YAMLError(f"more than {DEEPEST} levels deep")
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


def read_setting(text: str, name: str) -> Any:
    """``read_yaml`` of one option's value, which may turn out to be a name that looks like a number.

    Example:
        >>> read_setting("1.10", "x"), str(read_setting("1.10", "x")), read_setting("[1, 2]", "x")
        (1.1, '1.10', [1, 2])
    """
    value = read_yaml(text, name)
    return AsWritten(text.strip(), value) if isinstance(value, float) else value


def read_yaml(text: str, name: str) -> Any:
    """Text, numbers, booleans, nothing, lists and mappings of them.

    Args:
        name: what an error calls the text.

    Raises:
        InputError: it is no YAML, or holds anything else: aliases, dates, binary data, objects.

    Example:
        >>> read_yaml("{a: 1, b: [yes, 2.5]}", "x")
        {'a': 1, 'b': [True, 2.5]}
    """
    try:
        if len(text) > LONGEST:
            raise ValueError(f"longer than {LONGEST:,} characters")
        return _plain(yaml.load(text, _Loader))
    # PyYAML's constructors let through what int, float or datetime raise at odd numbers.
    except (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError, OverflowError) as error:
        raise InputError(f"{name}: not YAML ({' '.join(str(error).split())[:120]})") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise ValueError(f"the key {key!r} is not text")
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if value is None or isinstance(value, (str, bool, int, float)):
        return value
    raise ValueError(f"{value!r} is neither text nor a number; put it in quotes")
