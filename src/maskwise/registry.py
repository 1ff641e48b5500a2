"""Names to things: the command line's choices *are* the registries."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from maskwise.errors import InputError

T = TypeVar("T")


class Registry(Generic[T]):
    """Entries under snake_case names, each with facts that listings print and tests iterate over.

    Example:
        >>> infillers = Registry("infiller")
        >>> @infillers.register("mean", paper="default")
        ... def mean(): ...
        >>> infillers.names()
        ['mean']
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Decorator that files its object under ``name``; a second one of that name is a programming error."""

        def file(entry: T) -> T:
            if name in self._entries:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            self._facts[name] = MappingProxyType(facts)
            return entry

        return file

    def get(self, name: str) -> T:
        """The entry called ``name``.

        Raises:
            InputError: no such name; the message offers the closest ones.
        """
        try:
            return self._entries[name]
        except KeyError:
            close = difflib.get_close_matches(name, self._entries, n=3) or self.names()
            raise InputError(f"unknown {self.kind} {name!r}; did you mean {' or '.join(close)}?") from None

    def facts(self, name: str) -> Mapping[str, Any]:
        self.get(name)
        return self._facts[name]

    def names(self) -> list[str]:
        return sorted(self._entries)

    def items(self) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """(name, facts) in alphabetical order."""
        return ((name, self._facts[name]) for name in self.names())

    def __contains__(self, name: object) -> bool:
        return name in self._entries
