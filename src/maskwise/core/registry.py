"""Names to things: the command line's choices *are* the registries."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType
from typing import Any, Generic, TypeVar

from maskwise.core.errors import InputError
from maskwise.core.option_types import fitting, played

T = TypeVar("T")
MOST = 3  # names that a refusal offers: more are not read


class Registry(Generic[T]):
    """Entries under snake_case names, each with facts that listings print and tests iterate over.

    Args:
        kind: what an entry is called in messages.
        facts: what is true of an entry that does not say otherwise.

    Example:
        >>> infillers = Registry("infiller", random=False)
        >>> @infillers.register("mean", paper="default")
        ... class Mean: ...
        >>> infillers.names(), dict(infillers.facts("mean"))
        (['mean'], {'random': False, 'paper': 'default'})
        >>> infillers.build("mean", sigma=3)
        Traceback (most recent call last):
        maskwise.core.errors.InputError: infiller 'mean' has no option 'sigma'; it has none
    """

    def __init__(self, kind: str, **facts: Any) -> None:
        self.kind = kind
        self._usual = facts
        self._entries: dict[str, T] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}

    def register(self, name: str, **facts: Any) -> Callable[[T], T]:
        """Decorator that files its object under ``name``; a second one of that name is a programming error."""

        def file(entry: T) -> T:
            if name in self._entries:
                raise KeyError(f"{self.kind} {name!r} is registered twice")
            self._entries[name] = entry
            self._facts[name] = MappingProxyType({**self._usual, **facts})
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
            close = difflib.get_close_matches(name, self._entries, n=MOST)
            offer = f"did you mean {' or '.join(close)}?" if close else f"there is {_some(self.names())}"
            raise InputError(f"unknown {self.kind} {name!r}; {offer}") from None

    def name_of(self, entry: object) -> str | None:
        """The name that this very object is filed under; None where it is no entry.

        Example:
            >>> metrics = Registry("metric")
            >>> @metrics.register("error")
            ... class Error: ...
            >>> metrics.name_of(Error), metrics.name_of(int)
            ('error', None)
        """
        return next((name for name, known in self._entries.items() if known is entry), None)

    def build(self, name: str, /, *given: Any, common: Iterable[str] = (), **options: Any) -> Any:
        """What the entry called ``name``, a class or function, makes of its options.

        Args:
            given: what its first parameters are; they are no options.
            common: further options, which every entry of this kind has and the caller sees to.
            options: its keywords.

        Raises:
            InputError: unknown name, an option that it does not have, or a value of the wrong type.
        """
        entry: Any = self.get(name)
        known = [*list(inspect.signature(entry).parameters)[len(given) :], *common]
        unknown = next((key for key in options if key not in known), None)
        if unknown is not None:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise InputError(f"{self.kind} {name!r} has no option {unknown!r}; {has}")
        try:
            return entry(*given, **self.fitted(name, options))
        except TypeError as error:  # of an entry that names no types: a text where a number belongs, say
            raise InputError(f"{self.kind} {name!r}: an option has a value of the wrong type ({error})") from None

    def fitted(self, name: str, options: Mapping[str, Any]) -> dict[str, Any]:
        """The options as plain values of the types that the entry names for them.

        Raises:
            InputError: unknown name, a value of the wrong type, or an option that plays no part beside the others.
        """
        entry: Any = self.get(name)
        try:
            fitted = fitting(entry, options)
            played(entry, fitted)
            return fitted
        except InputError as error:
            raise InputError(f"{self.kind} {name!r}: {error}") from None

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


def _some(names: list[str]) -> str:
    """All of a few names, or how many there are and the first ones."""
    if len(names) <= MOST:
        return " and ".join(names) or "none"
    return f"{', '.join(names[:MOST])} and {len(names) - MOST} more"


def discover(package: str, path: Iterable[str]) -> None:
    """Imports every file of a package, so that what they register is there: a new entry is one new file.

    Args:
        package: its ``__name__``.
        path: its ``__path__``.
    """
    for module in iter_modules(path):
        import_module(f"{package}.{module.name}")
