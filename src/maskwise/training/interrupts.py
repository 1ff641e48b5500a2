"""Ctrl-C and SIGTERM in a long run: the step at hand is finished, and what there is is saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def interrupts() -> Iterator[Callable[[], bool]]:
    """While open, the first SIGINT or SIGTERM only sets what the function it gives says; a second one raises.

    Handlers belong to the main thread: in another one nothing is caught, and the answer is always no.

    Raises:
        KeyboardInterrupt: at the second signal.
    """
    caught: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if caught:
            raise KeyboardInterrupt
        caught.append(number)

    before: dict[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(caught)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
