"""The line of visitors: who works now, who waits, and that a slow request lets the others through.

A few tickets have a seat, that is a thread; of those one works at a time, since two would only slow each other down.
Whoever has worked for a slice while another one wants to hands over the turn at its next step, so that a quick request
passes a slow one.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from maskwise.core.errors import InputError

SEATS = 4  # requests that are begun
SLICE = 0.5  # seconds of work before another one may go on
WAITING = 64  # requests that have no seat yet
EACH = 3  # requests of one visitor in the line, begun ones among them
LIMIT = 300.0  # seconds of work for one request
LOOK = 0.2  # seconds between two looks at what a visitor asked to be stopped


class Stopped(Exception):  # noqa: N818
    """The visitor cancelled, or left."""


@dataclass(frozen=True)
class Progress:
    """What a request does now, and the share in [0,1] of it that is done."""

    text: str
    share: float


@dataclass(frozen=True)
class PlaceInLine:
    """Where a request that has no seat stands: 1 is next; seconds until it is done, roughly."""

    number: int
    seconds: float


@dataclass(eq=False)
class Ticket:
    """One request in the line.

    Attributes:
        visitor: whose it is.
        work: what is to be done, in a thread of the line's; it calls ``tell`` often.
        expected: seconds of work, roughly.
        stop: set it, and the work ends at its next step.
        items: what the work gave so far.
        progress: the newest.
        error: what ended it early: InputError, or Stopped.
        seat: which one it has, or had; None before.
        done: it has ended, one way or the other.
        used: seconds of work so far.
    """

    visitor: str
    work: Callable[[Ticket], None]
    expected: float
    line: WaitingLine
    stop: threading.Event = field(default_factory=threading.Event)
    items: list[Any] = field(default_factory=list)
    progress: Progress = field(default_factory=lambda: Progress("", 0.0))
    error: Exception | None = None
    seat: int | None = None
    done: bool = False
    used: float = 0.0
    since: float = 0.0  # when it began to work, or was last asked
    slice_since: float = 0.0  # when it got its turn

    def tell(self, progress: Progress | None = None) -> None:
        """A step of the work: what is done is noted, and another one's turn may come.

        Raises:
            Stopped: ``stop`` was set.
            InputError: its time is up.
        """
        if progress is not None:
            # A method may find on the way that there is more to do; a bar never goes back.
            self.progress = Progress(progress.text, max(progress.share, self.progress.share))
        self.line._step(self)

    def clock(self) -> float:
        """Seconds of work so far, to be read within it: others' turns are left out."""
        return self.used + time.monotonic() - self.since

    def give_way(self) -> None:
        """Lets the next one work at once, for what this one needs is held by another.

        Raises:
            Stopped: ``stop`` was set.
        """
        self.line._step(self, at_once=True)

    def remaining(self) -> float:
        """Seconds of work that are left, roughly."""
        share = self.progress.share
        if share > 0.05 and self.used > 1:
            return max(self.used / share - self.used, 0.1)
        return max(self.expected - self.used, self.used, 0.1)  # what takes longer than usual may take as long again


class WaitingLine:
    """Requests in the order in which they came.

    Args:
        seats, slice_, waiting, each, limit: see the constants of their names above.
    """

    def __init__(
        self,
        seats: int = SEATS,
        slice_: float = SLICE,
        waiting: int = WAITING,
        each: int = EACH,
        limit: float = LIMIT,
    ) -> None:
        self.seats, self.slice, self.waiting, self.each, self.limit = seats, slice_, waiting, each, limit
        self._changed = threading.Condition()
        self._waiting: deque[Ticket] = deque()
        self._seated: dict[int, Ticket] = {}
        self._turns: deque[Ticket] = deque()  # the first one works
        self._closed = False
        self._threads = [threading.Thread(target=self._sit, args=(seat,), daemon=True) for seat in range(seats)]
        for thread in self._threads:
            thread.start()

    def join(self, visitor: str, work: Callable[[Ticket], None], expected: float) -> Ticket:
        """A ticket at the end of the line.

        Raises:
            InputError: the line is full, or this visitor has enough in it.
        """
        with self._changed:
            mine = sum(t.visitor == visitor and not t.stop.is_set() for t in (*self._waiting, *self._seated.values()))
            if mine >= self.each:
                raise InputError(f"{mine} requests of yours are in line: wait for one of them, or cancel it")
            if len(self._waiting) >= self.waiting or self._closed:
                raise InputError("too many visitors are in line: try again in a minute")
            ticket = Ticket(visitor, work, expected, self)
            self._waiting.append(ticket)
            self._changed.notify_all()
        return ticket

    def leave(self, ticket: Ticket) -> None:
        """Ends a request, wherever it stands."""
        ticket.stop.set()
        with self._changed:
            if ticket in self._waiting:
                self._waiting.remove(ticket)
                ticket.error, ticket.done = Stopped(), True
            self._changed.notify_all()

    def place(self, ticket: Ticket) -> PlaceInLine | None:
        """Where a ticket stands; None once it has a seat or has ended."""
        with self._changed:
            if ticket not in self._waiting:
                return None
            ahead = self._waiting.index(ticket)
            work = sum(t.remaining() for t in self._seated.values())
            work += sum(t.expected for t in list(self._waiting)[: ahead + 1])
            return PlaceInLine(ahead + 1, work)

    def close(self, patience: float = 5.0) -> None:
        """Ends all requests, and waits for those that work."""
        with self._changed:
            self._closed = True
            tickets = [*self._waiting, *self._seated.values()]
            self._changed.notify_all()
        for ticket in tickets:
            self.leave(ticket)
        until = time.monotonic() + patience
        for thread in self._threads:
            thread.join(max(until - time.monotonic(), 0))

    def _sit(self, seat: int) -> None:
        """A seat's thread: takes one ticket after another."""
        while True:
            with self._changed:
                while (ticket := self._next()) is None:
                    if self._closed:
                        return
                    self._changed.wait()
                self._waiting.remove(ticket)
                self._seated[seat], ticket.seat = ticket, seat
            try:
                with self._turn(ticket):
                    ticket.work(ticket)
            except (InputError, Stopped) as error:
                ticket.error = error
            except Exception:
                logging.getLogger(__name__).exception("a request failed")
                ticket.error = InputError("something went wrong in here; the server's log says what")
            finally:
                with self._changed:
                    del self._seated[seat]
                    ticket.done = True
                    self._changed.notify_all()
                del ticket  # and with it the picture and the maps, while the seat is empty

    def _next(self) -> Ticket | None:
        """The first in line; of a visitor with a seat only if nobody else waits."""
        if self._closed:
            return None
        sitting = {ticket.visitor for ticket in self._seated.values()}
        others = (ticket for ticket in self._waiting if ticket.visitor not in sitting)
        return next(others, self._waiting[0] if self._waiting else None)

    @contextmanager
    def _turn(self, ticket: Ticket) -> Iterator[None]:
        self._wait_for_turn(ticket)
        try:
            yield
        finally:
            with self._changed:
                ticket.used += time.monotonic() - ticket.since
                self._turns.remove(ticket)
                self._changed.notify_all()

    def _wait_for_turn(self, ticket: Ticket) -> None:
        with self._changed:
            self._turns.append(ticket)
            while self._turns[0] is not ticket:
                if ticket.stop.is_set():
                    self._turns.remove(ticket)
                    raise Stopped
                self._changed.wait(LOOK)
            ticket.since = ticket.slice_since = time.monotonic()

    def _step(self, ticket: Ticket, at_once: bool = False) -> None:
        if ticket.stop.is_set():
            raise Stopped
        now = time.monotonic()
        ticket.used += now - ticket.since
        ticket.since = now
        if ticket.used > self.limit:
            raise InputError(
                f"stopped after {self.limit:g} s of work, which is the most for one request: choose fewer or quicker "
                "methods, SESS with fewer scales or a higher pre-filter"
            )
        if now - ticket.slice_since < self.slice and not at_once:
            return
        with self._changed:
            if len(self._turns) == 1:
                return
            # The last one again; what ``_turn`` takes out at the end must be in there even if this one is stopped.
            self._turns.rotate(-1)
            self._changed.notify_all()
            while self._turns[0] is not ticket:
                if ticket.stop.is_set():
                    ticket.since = time.monotonic()
                    raise Stopped
                self._changed.wait(LOOK)
            ticket.since = ticket.slice_since = time.monotonic()
