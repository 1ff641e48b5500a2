"""What a browser may ask of the page: known events, and values of the right kind, before anything else sees them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from maskwise.core.errors import InputError

SESSION = re.compile(r"[A-Za-z0-9_-]{1,64}")
LONGEST = 200  # characters of a class's name
ValueCheck = Callable[[Any], Any]


@dataclass(frozen=True)
class Event:
    """One event of the page.

    Attributes:
        fields: a check for each value in the order of the event's inputs; it gives what is handed on.
        data: of what comes beside them; None: nothing is handed on.
        at_once: does it wait for nothing, so that it comes outside Gradio's queue?
    """

    fields: Sequence[ValueCheck]
    data: ValueCheck | None = None
    at_once: bool = False


class Calls:
    """The page's events by number.

    Args:
        events: what each takes.
    """

    def __init__(self, events: Mapping[int, Event]) -> None:
        self.events = dict(events)

    def checked(self, body: Any, at_once: bool = False) -> dict[str, Any]:
        """A call with nothing in it but what was looked at.

        Args:
            body: what JSON gave.
            at_once: did it come outside the queue? Only events that wait for nothing may.

        Raises:
            InputError: no such event, too many or too few values, or one of another kind.
        """
        if not isinstance(body, dict):
            raise InputError("a call must be an object")
        which, data, session, trigger = (body.get(k) for k in ("fn_index", "data", "session_hash", "trigger_id"))
        if type(which) is not int or which not in self.events or (at_once and not self.events[which].at_once):
            raise InputError("there is no such event")
        if not isinstance(session, str) or not SESSION.fullmatch(session):
            raise InputError("a session is 1 to 64 letters, digits, - and _")
        event = self.events[which]
        if not isinstance(data, list) or len(data) != len(event.fields):
            raise InputError(f"this event takes {len(event.fields)} values")
        return {
            "fn_index": which,
            "session_hash": session,
            "trigger_id": trigger if type(trigger) is int else None,
            "data": [check(value) for check, value in zip(event.fields, data, strict=True)],
            "event_data": event.data(body.get("event_data")) if event.data else None,
        }


def ignored(value: Any) -> None:
    """What the server keeps itself: a browser's word for it does not count."""


def offered(what: str, names: Iterable[str]) -> ValueCheck:
    """A check for one of some names."""
    known = tuple(names)

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in known:
            raise InputError(f"{what} must be one of those offered")
        return value

    return check


def some_of(what: str, names: Iterable[str]) -> ValueCheck:
    """A check for a list of some names, each once."""
    known = tuple(names)

    def check(value: Any) -> list[str]:
        if not isinstance(value, list) or any(not isinstance(v, str) or v not in known for v in value):
            raise InputError(f"{what} must be some of those offered")
        return list(dict.fromkeys(value))

    return check


def number(what: str, low: float, high: float) -> ValueCheck:
    """A check for a number in [low,high]."""

    def check(value: Any) -> float:
        right = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not right or not low <= value <= high:  # which NaN is not, either
            raise InputError(f"{what} must be a number from {low:g} to {high:g}")
        return float(value)

    return check


def switch(what: str) -> ValueCheck:
    """A check for on or off."""

    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise InputError(f"{what} must be on or off")
        return value

    return check


def text(what: str, longest: int = LONGEST) -> ValueCheck:
    """A check for a short text; None stays None."""

    def check(value: Any) -> str | None:
        if value is not None and (not isinstance(value, str) or len(value) > longest):
            raise InputError(f"{what} must be a text of at most {longest} characters")
        return value

    return check


def sent_file(value: Any) -> str | None:
    """The token of a file that was sent: the name of its place, never a path or an address to be opened."""
    path = value.get("path") if isinstance(value, dict) else None
    if value is None:
        return None
    if not isinstance(path, str) or not re.fullmatch(r"[0-9a-f]{32}", path):
        raise InputError("the picture must be one that was sent")
    return path


def selected(count: int) -> ValueCheck:
    """A check for which of some things was chosen."""

    def check(value: Any) -> dict[str, Any]:
        index = value.get("index") if isinstance(value, dict) else None
        if type(index) is not int or not 0 <= index < count:
            raise InputError(f"an example is one of 0 to {count - 1}")
        return {"index": index, "value": None}

    return check
