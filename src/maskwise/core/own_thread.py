"""Hooks that only the thread heeds which set them: others may use the network meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from threading import get_ident
from typing import Any


def in_this_thread(hook: Callable[..., Any]) -> Callable[..., Any]:
    """The hook, which notes nothing and changes nothing where another thread than this one calls it.

    Example:
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> double = in_this_thread(lambda number: 2 * number)
        >>> with ThreadPoolExecutor(1) as another:
        ...     double(2), another.submit(double, 2).result()
        (4, None)
    """
    mine = get_ident()

    def own(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs) if get_ident() == mine else None

    return own
