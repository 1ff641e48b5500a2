"""Ctrl-C and SIGTERM in a long run: the step at hand is finished, and what there is is saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from maskwise.core.signals import handling, interrupt


@contextmanager
def interrupts() -> Iterator[Callable[[], int]]:
    """While open, the first SIGINT or SIGTERM only sets what the function it gives says; a later one raises.

    That is the signal's number, 0 as long as none came. Handlers belong to the main thread: in another one nothing is
    caught, and the answer is always 0.

    Raises:
        Interrupted: at a second signal, more than a second after the first.
    """
    caught: list[int] = []

    def handle(number: int) -> None:
        if caught:
            interrupt(number)
        caught.append(number)

    with handling(handle):
        yield lambda: caught[0] if caught else 0
