"""Warnings that would come for thousands of files alike: the first is given, and all are counted."""

from __future__ import annotations

import warnings
from threading import Lock

from maskwise.core.text import how_many

_lock = Lock()  # pictures are read by threads
_alike: dict[str, dict[str, None]] = {}  # of each kind the files' names, in order


def warn_of_first(file: str, kind: str, line: str) -> None:
    """Warns by ``line`` if this is the first file of a kind; further ones are only counted.

    Args:
        file: its name; the same one is counted once.
        kind: what the files do, as ``count_alike`` says it: ``use ...``.
    """
    with _lock:
        names = _alike.setdefault(kind, {})
        first = not names
        names[file] = None
    if first:
        warnings.warn(line, stacklevel=2)


def count_alike() -> list[str]:
    """A line for each kind of which there was more than one file; the count begins anew.

    Example:
        >>> import warnings
        >>> _ = count_alike()
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")
        ...     for name in ("a.png", "b.png"):
        ...         warn_of_first(name, "are dim", f"{name}: is dim")
        >>> count_alike(), count_alike()
        (['2 pictures are dim, of which a.png is the first'], [])
    """
    with _lock:
        found = [
            f"{how_many(len(names), 'picture')} {kind}, of which {next(iter(names))} is the first"
            for kind, names in _alike.items()
            if len(names) > 1
        ]
        _alike.clear()
    return found
