"""The sanity checks by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from maskwise.core.registry import Registry

Check = TypeVar("Check", bound=Callable[..., Any])
checks: Registry[Callable[..., Any]] = Registry("check")


def register_check(name: str, *, title: str, paper: str, trains: bool) -> Callable[[Check], Check]:
    """Decorator of a check, which is a function in a file of its own here.

    Args:
        name: by which ``maskwise check`` and the studies call it.
        title: what it asks.
        paper: that has it.
        trains: does it train networks?
    """

    def file(check: Check) -> Check:
        checks.register(name, title=title, paper=paper, trains=trains)(check)
        return check

    return file
