"""SIGINT and SIGTERM as one exception that says which of them came, so that what is half-made is cleaned up."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

ENDING = (signal.SIGINT, signal.SIGTERM)
AT_ONCE = 1.0  # seconds


class Interrupted(KeyboardInterrupt):
    """SIGINT or SIGTERM came.

    Args:
        message: what is kept, and how to go on.
        number: of the signal.
    """

    def __init__(self, message: str = "", number: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.number = int(number)


@contextmanager
def handling(handle: Callable[[int], None]) -> Iterator[None]:
    """While open, SIGINT and SIGTERM call ``handle(number)``; one that the program was started to ignore stays so.

    What comes within a second of another counts as the same: ``timeout`` and launchers signal a process and then its
    whole group, and the second one must not break the tidying that the first began. Handlers belong to the main
    thread: in another one nothing is caught.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last = -AT_ONCE - 1

    def once(number: int, frame: FrameType | None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > AT_ONCE:
            last = now
            handle(number)

    before: dict[int, Any] = {
        number: signal.signal(number, once) for number in ENDING if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)


def interrupt(number: int) -> NoReturn:
    """For ``handling``: the work at hand ends as by an error.

    Raises:
        Interrupted: always.
    """
    raise Interrupted(number=number)
